// Sorts a table by the column whose head is pressed.

function sortBy(table, column, direction) {
  const key = (row) => row.cells[column].dataset.value;
  const compare = (a, b) =>
    isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", { numeric: true }) : Number(a) - Number(b);
  const rows = [...table.tBodies[0].rows];
  rows.sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined); // last
    return direction * compare(a, b);
  });
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortBy(table, column, descending ? -1 : 1);
    });
  });
}
