// Shows the confusion matrices of the chosen variant.

function cells(matrix, shade, { signed = false } = {}) {
  const labels = data.confusion.labels;
  const text = (count) => (signed && count > 0 ? `+${count}` : String(count || ""));
  return matrix.flatMap((row, i) =>
    row.map((count, k) => ({
      actual: labels[i], predicted: labels[k], count, text: text(count), shade: shade(count, row),
    })));
}

function showConfusion() {
  const { baseline, counts, charts } = data.confusion;
  const variant = byId("confusion-variant").value;
  const share = (count, row) => Math.sqrt(count / Math.max(1, row.reduce((a, b) => a + b)));
  const difference = counts[variant].map((row, i) => row.map((x, k) => x - counts[baseline][i][k]));
  const largest = Math.max(1, ...difference.flat().map(Math.abs));
  byId("confusion-name").textContent = variant;
  draw("confusion-baseline", charts.counts, { cells: cells(counts[baseline], share) },
    `Confusion matrix of ${baseline}`);
  draw("confusion-variant-chart", charts.counts, { cells: cells(counts[variant], share) },
    `Confusion matrix of ${variant}`);
  const shade = (count) => Math.abs(count) / largest;
  draw("confusion-difference", charts.difference,
    { cells: cells(difference, shade, { signed: true }) },
    `Confusion matrix of ${variant} minus that of ${baseline}`);
}

byId("confusion-variant").addEventListener("change", showConfusion);
