// Without a validator: nothing is asked of any other machine.
window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  validatorUrl: null,
  tagsSorter: "alpha",
  defaultModelsExpandDepth: 0,
});
