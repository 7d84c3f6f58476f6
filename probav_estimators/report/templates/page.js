"use strict";

for (const compare of document.querySelectorAll(".compare")) {
  const stage = compare.querySelector(".stage");
  const handle = compare.querySelector(".handle");
  const sides = [...stage.querySelectorAll("figure")];
  const gallery = compare.parentElement.querySelector(".gallery");
  let at = 50;

  // The gallery shows all pictures, whichever two are under the divider.
  const copies = sides.map((side) => side.cloneNode(true));
  for (const copy of copies) copy.classList.add("copy");
  const inOrder = (one, other) => one.dataset.place - other.dataset.place;
  gallery.replaceChildren(...[...copies, ...gallery.children].sort(inOrder));
  const pictures = [...gallery.querySelectorAll(".image")];

  const place = (percent) => {
    at = Math.min(100, Math.max(0, percent));
    stage.style.setProperty("--at", at);
    const shown = Math.round(at);
    handle.setAttribute("aria-valuenow", shown);
    handle.setAttribute(
      "aria-valuetext",
      `${shown} % ${sides[0].dataset.name}, ${100 - shown} % ${sides[1].dataset.name}`,
    );
  };

  const show = (side, picture) => {
    const [image, caption] = [side.querySelector("img"), side.querySelector("figcaption")];
    const [source, text] = [picture.querySelector("img"), picture.querySelector("figcaption")];
    for (const name of ["src", "alt", "width", "height"]) {
      image.setAttribute(name, source.getAttribute(name));
    }
    caption.replaceChildren(...text.cloneNode(true).childNodes);
    side.dataset.name = picture.dataset.name;
    place(at);
  };

  compare.querySelectorAll("select").forEach((select, number) => {
    for (const picture of pictures) {
      select.append(new Option(picture.dataset.name, "", false, picture === copies[number]));
    }
    select.addEventListener("change", () => show(sides[number], pictures[select.selectedIndex]));
  });

  const follow = (event) => {
    const box = sides[1].querySelector("img").getBoundingClientRect();
    place((100 * (event.clientX - box.left)) / box.width);
  };
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest("figcaption")) return;
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    handle.focus({ preventScroll: true });
    follow(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) follow(event);
  });

  const steps = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10 };
  handle.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Home") place(0);
    else if (event.key === "End") place(100);
    else if (event.key in steps) place(at + steps[event.key]);
    else return;
    event.preventDefault();
  });

  stage.classList.add("live");
  handle.hidden = false;
  compare.querySelector(".choice").hidden = false;
  place(at);
}
