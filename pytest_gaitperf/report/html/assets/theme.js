// Colours: those of the system until the reader chooses; light on paper.

const root = document.documentElement;
const themeButton = document.getElementById("theme");
const systemDark = matchMedia("(prefers-color-scheme: dark)");
let chosenTheme = null;

function setTheme(dark) {
  root.dataset.theme = dark ? "dark" : "light";
  themeButton.setAttribute("aria-pressed", String(dark));
  redraw();
}

setTheme(systemDark.matches);
systemDark.addEventListener("change", () => {
  if (chosenTheme === null) setTheme(systemDark.matches);
});
themeButton.addEventListener("click", () => {
  chosenTheme = root.dataset.theme !== "dark";
  setTheme(chosenTheme);
});

addEventListener("beforeprint", () => {
  root.dataset.theme = "light";
  onPaper = true;
  if (typeof Plotly !== "undefined") {
    for (const element of waiting) {
      if (!drawn.has(element)) drawn.set(element, figures[element.dataset.figure]);
    }
  }
  redraw();
});
addEventListener("afterprint", () => {
  onPaper = false;
  setTheme(chosenTheme ?? systemDark.matches);
});
