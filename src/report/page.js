"use strict";
// Sorts a table by the column whose button was pressed; pressed again, the other way round. What has no value is last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, column) => {
    const isNumber = head.classList.contains("n");
    head.querySelector("button").addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const descending = before ? before === "ascending" : isNumber;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
      const compare = (a, b) => (isNumber ? a - b : a < b ? -1 : a > b ? 1 : 0);
      const rows = [...table.tBodies[0].rows].map((row) => ({ row, value: value(row) }));
      rows.sort((a, b) => {
        if (a.value === "" || b.value === "") return (a.value === "") - (b.value === "");
        return descending ? compare(b.value, a.value) : compare(a.value, b.value);
      });
      table.tBodies[0].append(...rows.map((entry) => entry.row));
    });
  });
}
