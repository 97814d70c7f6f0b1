// What the page in the browser lacks for people who use it by keyboard, by ear or with little sight, a line for each.
(() => {
  const faults = [];
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const named = (element) => element.outerHTML.slice(0, 120);
  const demand = (is, what, element) => is || faults.push(element ? `${what}: ${named(element)}` : what);
  const isShown = (element) => element.checkVisibility({ visibilityProperty: true }) && element.getClientRects().length > 0;

  // Landmarks, headings, titles.
  demand(document.documentElement.lang, "no language");
  demand(document.title, "no title");
  demand(all("main").length === 1, "not one main");
  demand(all("h1").length === 1, "not one h1");
  let level = 0;
  for (const heading of all("h1, h2, h3, h4, h5, h6")) {
    const next = Number(heading.localName[1]);
    demand(next <= level + 1, "a heading skips a level", heading);
    level = next;
  }
  for (const nav of all("nav")) demand(nav.ariaLabel, "a nav without a name", nav);
  const ids = all("[id]").map((element) => element.id);
  demand(new Set(ids).size === ids.length, "an id is there twice");
  for (const element of all("[aria-labelledby], [aria-describedby]"))
    for (const id of `${element.getAttribute("aria-labelledby") ?? ""} ${element.getAttribute("aria-describedby") ?? ""}`.split(" "))
      demand(!id || document.getElementById(id), "a name that is nowhere", element);

  // Controls.
  const text = (element) => element.innerText?.trim() || element.textContent.trim();
  for (const control of all("a[href], button, input:not([type=hidden]), select, textarea, summary")) {
    const labels = [...(control.labels ?? [])].map(text).join("");
    const own = control.matches("a, button, summary") ? text(control) : "";
    demand(control.ariaLabel || labels || own, "a control without a name", control);
    // By ear, a control is called as it is written.
    if (control.ariaLabel && own) demand(control.ariaLabel.includes(own), "a name that is not what is written", control);
    demand(control.tabIndex >= 0 || control.disabled, "a control that the keyboard does not reach", control);
    if (control.matches("a, button, input, select") && isShown(control) && !control.closest("p:not(.actions, .who), td, dd, .skip")) {
      const { width, height } = control.getBoundingClientRect();
      demand(Math.max(width, height) >= 24 || control.closest("label, th"), "a control too small to hit", control);
    }
  }
  for (const element of all("[tabindex]")) demand(element.tabIndex <= 0, "an order of its own", element);
  for (const element of all("[accesskey]"))
    demand(all(`[accesskey="${element.accessKey}"]`).length === 1, "an access key that is there twice", element);

  // Tables and pictures.
  for (const table of all("table")) {
    demand(table.caption?.textContent.trim(), "a table without a caption", table);
    for (const head of all("th", table)) {
      demand(head.scope, "a heading of a table without a scope", head);
      demand(head.textContent.trim() || head.querySelector("[aria-label]"), "an empty heading of a table", head);
    }
    for (const row of all("tbody tr", table)) demand(row.querySelector("th[scope=row]"), "a row without a heading", row);
  }
  for (const picture of all("svg, img"))
    demand(picture.ariaHidden === "true" || (picture.role === "img" && picture.ariaLabel), "a picture without a text", picture);

  // Nothing interrupts, and what is said is there when the page loads.
  for (const region of all("[role=alert], [aria-live=assertive]")) faults.push(`it interrupts: ${named(region)}`);

  // Contrast of texts with what is behind them.
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((part, index) => part * a + below[index] * (1 - a));
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    const color = rgba(getComputedStyle(element).backgroundColor);
    return color[3] === 1 ? color.slice(0, 3) : over(color, behind(element.parentElement));
  };
  const light = (color) => {
    const [r, g, b] = color.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [more, less] = [light(one), light(other)].sort((a, b) => b - a);
    return (more + 0.05) / (less + 0.05);
  };
  const demandContrast = (color, element, least, what) => {
    const ground = behind(element);
    const found = contrast(over(rgba(color), ground), ground);
    demand(found >= least, `${what} has a contrast of ${found.toFixed(2)}`, element);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !isShown(element)) continue;
    demandContrast(getComputedStyle(element).color, element, 4.5, "a text");
  }
  for (const input of all("input:not([type=hidden], [type=checkbox]), select")) {
    demandContrast(getComputedStyle(input).color, input, 4.5, "an input");
    // Its edge is what shows where it is.
    const edge = over(rgba(getComputedStyle(input).borderTopColor), behind(input.parentElement));
    const found = contrast(edge, behind(input.parentElement));
    demand(found >= 3, `an edge has a contrast of ${found.toFixed(2)}`, input);
    if (input.placeholder) {
      const color = getComputedStyle(input, "::placeholder").color;
      demandContrast(color, input, 4.5, "a placeholder");
    }
  }
  for (const shape of all("svg:not([aria-hidden]) :is(rect, polyline, .level)")) {
    const style = getComputedStyle(shape);
    const paint = style.fill === "none" ? style.stroke : style.fill;
    const ground = behind(shape.closest("svg").parentElement);
    if (shape.matches(".ground")) continue;
    const found = contrast(over(rgba(paint), ground), ground);
    demand(found >= 3, `a shape has a contrast of ${found.toFixed(2)}`, shape);
  }

  // No scrolling to the side.
  const { scrollWidth, clientWidth } = document.documentElement;
  demand(scrollWidth <= clientWidth, `the page is ${scrollWidth} wide, in ${clientWidth}`);
  for (const element of all("main *"))
    if (isShown(element) && element.scrollWidth > element.clientWidth + 1 && ["auto", "scroll"].includes(getComputedStyle(element).overflowX))
      demand(false, `a part scrolls to the side`, element);
  return faults;
})();
