"use strict";
function cellValue(row, column) {
  var text = row.cells[column].textContent.trim().replace("\u2212", "-");
  var value = parseFloat(text);
  return isNaN(value) ? text.toLowerCase() : value;
}
function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1;
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
    var body = head.closest("table").tBodies[0];
    Array.from(body.rows).sort(function (a, b) {
      var order = compare(cellValue(a, head.cellIndex), cellValue(b, head.cellIndex));
      return falling ? -order : order;
    }).forEach(function (row) { body.appendChild(row); });
  });
});
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
      row.hidden = row.textContent.toLowerCase().indexOf(wanted) < 0;
    });
  });
  window.addEventListener("beforeprint", function () {
    input.value = "";
    input.dispatchEvent(new Event("input"));
  });
});
