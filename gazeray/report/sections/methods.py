# SPDX-License-Identifier: Apache-2.0
"""How the run was made: methods with their references, and the config with all versions and hashes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from gazeray.report.blocks import Block, Code, Listing, Section, Terms
from gazeray.report.results import Results
from gazeray.report.sections.provenance import simulated
from gazeray.report.words import counted

REFERENCES = {
    "adebayo": "Adebayo, J. et al. (2018). Sanity checks for saliency maps. Advances in Neural Information Processing "
    "Systems 31. arXiv:1810.03292.",
    "bengio": "Bengio, Y., and Grandvalet, Y. (2004). No unbiased estimator of the variance of K-fold "
    "cross-validation. Journal of Machine Learning Research 5, 1089–1105.",
    "brier": "Brier, G. W. (1950). Verification of forecasts expressed in terms of probability. Monthly Weather Review "
    "78, 1–3. doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.",
    "brodersen": "Brodersen, K. H. et al. (2010). The balanced accuracy and its posterior distribution. ICPR 2010, "
    "3121–3124. doi:10.1109/ICPR.2010.764.",
    "cawley": "Cawley, G. C., and Talbot, N. L. C. (2010). On over-fitting in model selection and subsequent selection "
    "bias in performance evaluation. Journal of Machine Learning Research 11, 2079–2107.",
    "dunn": "Dunn, M. J. et al. (2024). Minimal reporting guideline for research involving eye tracking (2023 "
    "edition). Behavior Research Methods 56, 4351–4357. doi:10.3758/s13428-023-02187-1.",
    "efron": "Efron, B., and Tibshirani, R. J. (1993). An introduction to the bootstrap. Chapman and Hall.",
    "fawcett": "Fawcett, T. (2006). An introduction to ROC analysis. Pattern Recognition Letters 27, 861–874. "
    "doi:10.1016/j.patrec.2005.10.010.",
    "field": "Field, C. A., and Welsh, A. H. (2007). Bootstrapping clustered data. Journal of the Royal Statistical "
    "Society B 69, 369–390. doi:10.1111/j.1467-9868.2007.00593.x.",
    "gorodkin": "Gorodkin, J. (2004). Comparing two K-category assignments by a K-category correlation coefficient. "
    "Computational Biology and Chemistry 28, 367–374. doi:10.1016/j.compbiolchem.2004.09.006.",
    "murphy": "Murphy, A. H. (1973). A new vector partition of the probability score. Journal of Applied Meteorology "
    "12, 595–600. doi:10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2.",
    "newcombe": "Newcombe, R. G. (1998). Interval estimation for the difference between independent proportions: "
    "comparison of eleven methods. Statistics in Medicine 17, 873–890.",
    "niculescu": "Niculescu-Mizil, A., and Caruana, R. (2005). Predicting good probabilities with supervised learning. "
    "ICML 2005, 625–632. doi:10.1145/1102351.1102430.",
    "owen": "Owen, A. B. (2007). The pigeonhole bootstrap. Annals of Applied Statistics 1, 386–411. "
    "doi:10.1214/07-AOAS122.",
    "petsiuk": "Petsiuk, V., Das, A., and Saenko, K. (2018). RISE: randomized input sampling for explanation of "
    "black-box models. BMVC. arXiv:1806.07421.",
    "phipson": "Phipson, B., and Smyth, G. K. (2010). Permutation p-values should never be zero. Statistical "
    "Applications in Genetics and Molecular Biology 9, article 39. doi:10.2202/1544-6115.1585.",
    "samek": "Samek, W. et al. (2017). Evaluating the visualization of what a deep neural network has learned. IEEE "
    "Transactions on Neural Networks and Learning Systems 28, 2660–2673. doi:10.1109/TNNLS.2016.2599820.",
    "simonyan": "Simonyan, K., Vedaldi, A., and Zisserman, A. (2014). Deep inside convolutional networks: visualising "
    "image classification models and saliency maps. ICLR workshop. arXiv:1312.6034.",
    "smilkov": "Smilkov, D. et al. (2017). SmoothGrad: removing noise by adding noise. arXiv:1706.03825.",
    "sundararajan": "Sundararajan, M., Taly, A., and Yan, Q. (2017). Axiomatic attribution for deep networks. ICML. "
    "arXiv:1703.01365.",
    "vancalster": "Van Calster, B. et al. (2019). Calibration: the Achilles heel of predictive analytics. BMC Medicine "
    "17, article 230. doi:10.1186/s12916-019-1466-7.",
}
"""What several studies rest on, by first author."""


def methods(paragraphs: Sequence[Block], references: Iterable[str]) -> Section:
    """The section on methods. references: keys of `REFERENCES`, or whole references; sorted here."""
    texts = sorted({REFERENCES.get(reference, reference) for reference in references})
    return Section("methods", "Methods", "Methods", [*paragraphs, Listing(texts, bullets=False)])


def config(results: Results) -> Section:
    """The section on config, versions and hashes."""
    manifest, data = results.manifest, results.manifest["data"]
    versions = sorted(manifest["versions"].items(), key=lambda item: item[0].lower())
    pairs = {
        **{name: manifest[name] for name in ("job", "status", "started")},
        "finished": manifest["finished"] or "not yet",
        "seed": manifest["seed"],
        "config hash": manifest["config_hash"],
        "data fingerprint": data["fingerprint"],
        "licence of the data": data["licence"] or "not stated",
        "versions": ", ".join(f"{name} {version}" for name, version in versions),
        **_how_it_was_made(manifest),
    }
    text = yaml.safe_dump(_without_simulation(results), sort_keys=False, allow_unicode=True)
    terms = Terms([(name, str(value)) for name, value in pairs.items()])
    return Section("config", "Config, versions, hashes", "Config", [terms, Code(text)])


def _without_simulation(results: Results) -> dict[str, Any]:
    """The config without the settings of the embedded simulation, where the data are not its."""
    config, data = results.config, results.config.get("data") or {}
    if simulated(results) or "simulate" not in data:
        return config
    return {**config, "data": {key: value for key, value in data.items() if key != "simulate"}}


def _how_it_was_made(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Command, code, machine and time, as far as a run folder says them: those of earlier versions do not."""
    pairs = {"command": manifest["command"]} if "command" in manifest else {}
    if manifest.get("git"):
        changed = ", and changes that were not committed" if manifest["git"]["dirty"] else ""
        pairs["code"] = f"git commit {manifest['git']['commit']}{changed}"
    if "machine" in manifest:
        told = [manifest, *reversed(manifest["earlier"])]  # the last command may have found nothing to compute
        used = [one["machine"] for one in told if one.get("machine", {}).get("device")]
        machine = [*used, manifest["machine"]][0]
        cluster = machine["cluster"]
        gpus = f"; {', '.join(machine['gpus'])}" if machine["gpus"] else ""
        pairs["machine"] = f"{machine['cpu']}, {counted(machine['cores'], 'core')}, {machine['memory_gb']:g} GB{gpus}"
        if machine["device"]:
            pairs["machine"] += f"; computed on {'a GPU' if machine['device'] == 'cuda' else 'the CPU'}"
        if cluster and cluster["machines"] > 1:
            models = f" ({', '.join(cluster['gpu_models'])})" if cluster["gpu_models"] else ""
            pairs["machine"] += f"; a cluster of {cluster['machines']} machines: {counted(cluster['cpus'], 'CPU')}"
            pairs["machine"] += f", {counted(cluster['gpus'], 'GPU')}{models}"
    if "seconds_total" in manifest:
        commands = len(manifest["earlier"]) + 1
        pairs["time"] = f"{manifest['seconds_total']:.1f} s" + (f", in {commands} commands" if commands > 1 else "")
    return pairs
