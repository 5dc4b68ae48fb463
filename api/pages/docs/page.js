// Shows the service's own document. Swagger UI has a dark look, but does not choose it by itself.
const dark = matchMedia("(prefers-color-scheme: dark)");
const dress = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", dress);
dress();

SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href, // wherever a proxy has put the service
  dom_id: "#document",
  deepLinking: true, // an operation has an address: /docs#/Searches/neighboursOfLogo
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null, // it would be asked on another host
});
