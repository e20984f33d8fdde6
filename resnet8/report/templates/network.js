// The graph of the network: what its boxes say of the chosen variant.

const { noise } = data.network;

function showNoise() {
  const variant = byId("graph-variant")?.value;
  const rows = noise[variant] ?? {};
  const ratios = Object.values(rows).map(({ sqnr }) => sqnr).filter((x) => x !== null);
  const [low, high] = [Math.min(...ratios), Math.max(...ratios)];
  for (const box of byId("graph").querySelectorAll("[data-layer]")) {
    const row = rows[box.dataset.layer];
    box.dataset.variant = row ? variant : "";
    box.querySelector(".sqnr").textContent = row?.text ?? "";
    box.querySelector(".type").textContent = row?.type ?? "";
    // The noisiest layer has the strongest mark.
    const share = row?.sqnr == null || high === low ? 0 : (high - row.sqnr) / (high - low);
    box.querySelector(".noise").style.fillOpacity = share;
  }
}

byId("graph-variant")?.addEventListener("change", showNoise);
showNoise();
