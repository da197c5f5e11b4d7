/* A click on a picture shows it at its full size. */
document.addEventListener("click", ({ target }) => target.matches("article img") && window.open(target.src));
