"use strict";
// Sorting. Text columns (class "text") sort as words in which runs of digits count as numbers; the others as numbers,
// and what is no number ("undefined", "whole file", an empty cell) stays at the end in either direction.
var words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
function cellNumber(text) {
  var match = text.replace(/\u2212/g, "-").match(/^[+-]?\d+(\.\d+)?(e[+-]?\d+)?/i);
  return match ? parseFloat(match[0]) : NaN;
}
function compareRows(a, b, column, numeric, sign) {
  var left = a.cells[column].textContent.trim(), right = b.cells[column].textContent.trim();
  if (!numeric) return sign * words.compare(left, right);
  left = cellNumber(left);
  right = cellNumber(right);
  if (isNaN(left) || isNaN(right)) return (isNaN(left) ? 1 : 0) - (isNaN(right) ? 1 : 0);
  return sign * (left - right);
}
document.querySelectorAll("table.sortable thead th").forEach(function (head) {
  var button = document.createElement("button");
  button.type = "button";
  button.title = "sort by this column";
  while (head.firstChild) button.appendChild(head.firstChild);
  head.appendChild(button);
  button.addEventListener("click", function () {
    var falling = head.getAttribute("aria-sort") === "ascending";
    head.parentNode.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    var body = head.closest("table").tBodies[0], numeric = !head.classList.contains("text");
    Array.from(body.rows).sort(function (a, b) {
      return compareRows(a, b, head.cellIndex, numeric, falling ? -1 : 1);
    }).forEach(function (row) { body.appendChild(row); });
  });
});
// The heads of rows stay in sight; where what lies beside them has moved under them, they have a shadow.
document.querySelectorAll(".scroll:has(> table)").forEach(function (box) {
  box.addEventListener("scroll", function () { box.classList.toggle("moved", box.scrollLeft > 0); });
});
// Filters. What is filtered out gets the class "out", which hides on the screen only: paper shows everything.
document.querySelectorAll("table.filterable").forEach(function (table) {
  var input = document.createElement("input");
  input.type = "search";
  input.className = "filter widget";
  input.placeholder = "show only rows that contain \u2026";
  input.setAttribute("aria-label", "show only rows that contain this text");
  table.parentNode.parentNode.insertBefore(input, table.parentNode);
  input.addEventListener("input", function () {
    var wanted = input.value.toLowerCase();
    Array.from(table.tBodies[0].rows).forEach(function (row) {
      row.classList.toggle("out", row.textContent.toLowerCase().indexOf(wanted) < 0);
    });
  });
});
(function () {
  var groups = Array.from(document.querySelectorAll("#gallery .examples"));
  if (!groups.length) return;
  var figures = Array.from(document.querySelectorAll("#gallery figure"));
  var people = Array.from(new Set(figures.map(function (item) { return item.dataset.participant; })));
  var bar = document.createElement("p"), status = document.createElement("span");
  bar.className = "filters widget";
  status.setAttribute("role", "status");
  function choice(id, label, options) {
    var select = document.createElement("select"), name = document.createElement("label");
    select.id = id;
    options.forEach(function (option) { select.add(new Option(option[1], option[0])); });
    name.htmlFor = id;
    name.textContent = label;
    select.addEventListener("change", show);
    bar.append(name, " ", select, " ");
    return select;
  }
  function show() {
    var shown = 0;
    figures.forEach(function (item) {
      var fits = (!outcome.value || item.dataset.outcome === outcome.value) &&
        (participant.value === "" || item.dataset.participant === people[participant.value]);
      item.classList.toggle("out", !fits);
      shown += fits;
    });
    groups.forEach(function (group) {
      group.classList.toggle("out", !!group.querySelector("figure") && !group.querySelector("figure:not(.out)"));
    });
    status.textContent = shown + " of " + figures.length + " shown";
  }
  var outcome = choice("show-outcome", "Show", [["", "correct and wrong"], ["correct", "correct"], ["wrong", "wrong"]]);
  people.sort(words.compare);
  var participant = choice("show-participant", "of participant", [["", "everybody"]].concat(people.map(function (name, index) {
    return [index, name];
  })));
  bar.append(status);
  groups[0].parentNode.insertBefore(bar, groups[0]);
  show();
})();
