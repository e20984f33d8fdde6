// Shows the confusion matrices of the chosen variant.

function cells(matrix, shade, { signed = false } = {}) {
  const labels = data.confusion.labels;
  const text = (count) => (signed && count > 0 ? `+${count}` : String(count || ""));
  return matrix.flatMap((row, i) =>
    row.map((count, k) => ({
      actual: labels[i], predicted: labels[k], count, text: text(count), shade: shade(count, row),
    })));
}

function confusionChart(signed) {
  const { labels } = data.confusion;
  const side = { type: "nominal", sort: labels, scale: { domain: labels } };
  const shared = {
    x: { ...side, field: "predicted", title: "predicted class", axis: { labelAngle: -60 } },
    y: { ...side, field: "actual", title: "true class" },
    tooltip: tooltip(["actual", "predicted", "count"]),
  };
  const fill = { value: css("positive") };
  if (signed) fill.condition = { test: "datum.count < 0", value: css("negative") };
  const scale = { domain: [0, 1], range: [0, 1] };
  const opacity = { field: "shade", type: "quantitative", legend: null, scale };
  const onDark = { test: "datum.shade > 0.55", value: css("page") };
  const text = { field: "text", type: "nominal" };
  const color = { condition: onDark, value: css("ink") };
  return {
    data: { name: "cells" }, height: 23 * labels.length,
    layer: [
      mark("rect", { ...shared, fill, opacity }),
      mark("text", { ...shared, text, color }, { fontSize: 10, aria: false }),
    ],
  };
}

function showConfusion() {
  const { baseline, counts } = data.confusion;
  const variant = byId("confusion-variant").value;
  const share = (count, row) => Math.sqrt(count / Math.max(1, row.reduce((a, b) => a + b)));
  const difference = counts[variant].map((row, i) => row.map((x, k) => x - counts[baseline][i][k]));
  const largest = Math.max(1, ...difference.flat().map(Math.abs));
  byId("confusion-name").textContent = variant;
  draw("confusion-baseline", confusionChart(false), { cells: cells(counts[baseline], share) },
    `Confusion matrix of ${baseline}`);
  draw("confusion-variant-chart", confusionChart(false), { cells: cells(counts[variant], share) },
    `Confusion matrix of ${variant}`);
  const shade = (count) => Math.abs(count) / largest;
  draw("confusion-difference", confusionChart(true),
    { cells: cells(difference, shade, { signed: true }) },
    `Confusion matrix of ${variant} minus that of ${baseline}`);
}

byId("confusion-variant").addEventListener("change", showConfusion);
