// Sets the theme before anything is drawn; "auto" follows the system.
(() => {
  const themes = ["auto", "light", "dark"];
  const kept = () => {
    try { return localStorage.getItem("molt-theme") || "auto"; } catch { return "auto"; }
  };
  const set = (theme) => { document.documentElement.dataset.theme = theme; };
  set(kept());
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const say = () => {
      const theme = document.documentElement.dataset.theme;
      button.textContent = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[theme];
      button.setAttribute("aria-label", `Theme: ${theme}. Change`);
    };
    button.addEventListener("click", () => {
      const next = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length];
      set(next);
      try { localStorage.setItem("molt-theme", next); } catch { /* private mode: for this page only */ }
      say();
      dispatchEvent(new CustomEvent("molt:theme"));
    });
    say();
  });
})();
