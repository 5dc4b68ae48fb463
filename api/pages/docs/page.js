// Shows the service's API document. Swagger UI has a dark theme, but does not choose it by itself.
const dark = matchMedia("(prefers-color-scheme: dark)");
const dress = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", dress);
dress();

// The explorer may be switched off: then the document does not list it.
const offerWayBack = () => {
  document.getElementById("back").hidden = !page.specSelectors.specJson().hasIn(["paths", "/"]);
};

const page = SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href, // relative to the page, because a proxy may add a prefix
  dom_id: "#document",
  deepLinking: true, // each operation has an address, such as /docs#/Searches/neighboursOfLogo
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null, // the default validator is on another host
  onComplete: offerWayBack,
});
