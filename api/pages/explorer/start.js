// Loads the page's modules once the header is painted: on a slow processor, loading them takes longer than painting. It is
// no module, so that it can be there before them.
(() => {
  // What `app.js` imports, so that no file is asked for only when another one has come.
  const MODULES = [
    "address elements exact_json lookup service names stored_pixels pictures scale selection neighbours",
    "results_head notices results facts recent combobox search_box subject verdict view_logo view_start",
  ].join(" ").split(" ");

  let begun = false;
  const load = () => {
    if (begun) return;
    begun = true;
    for (const name of MODULES) document.head.append(Object.assign(document.createElement("link"), { rel: "modulepreload", href: `explorer/${name}.js` }));
    document.head.append(Object.assign(document.createElement("script"), { type: "module", src: "explorer/app.js" }));
  };
  requestAnimationFrame(() => setTimeout(load));
  setTimeout(load, 100); // a hidden tab paints nothing, and need not wait
})();
