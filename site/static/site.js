/* A click on a picture shows it at its full size. */
document.addEventListener("click", ({ target }) => target.matches("article img") && window.open(target.src));

/* Excerpts of the search have "…" in place of a formula's TeX. */
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const textOf = Search.htmlToText;
  Search.htmlToText = (html, anchor) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    page.querySelectorAll(".math").forEach((formula) => formula.replaceWith("…"));
    return textOf(page.documentElement.outerHTML, anchor);
  };
});
