// Theme, sections, print, and the first drawing.

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => {
  const { theme } = document.documentElement.dataset; // undefined until the reader chooses
  return theme ? theme === "dark" : prefersDark.matches;
};
function nameTheme() {
  byId("theme").textContent = isDark() ? "Light theme" : "Dark theme";
}
byId("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
});
prefersDark.addEventListener("change", nameTheme);
nameTheme();

// On a narrow screen, the sections are behind a button.
const menu = byId("menu");
const open = (isOpen) => menu.setAttribute("aria-expanded", isOpen);
menu.addEventListener("click", () => open(menu.getAttribute("aria-expanded") !== "true"));
byId("sections").addEventListener("click", () => open(false));
addEventListener("keydown", ({ key }) => { if (key === "Escape") open(false); });

// A table that goes on at the right fades there.
for (const box of document.querySelectorAll(".scroll")) {
  const mark = () => box.toggleAttribute("data-more",
    box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  box.addEventListener("scroll", mark);
  new ResizeObserver(mark).observe(box);
}

const links = new Map([...document.querySelectorAll("nav ol a")].map((a) => [a.hash.slice(1), a]));
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    for (const link of links.values()) link.removeAttribute("aria-current");
    links.get(target.id).setAttribute("aria-current", "true");
  }
}, { rootMargin: "-20% 0px -75% 0px" });
for (const id of links.keys()) watcher.observe(byId(id));

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});

showConfusion();
showLayer();
