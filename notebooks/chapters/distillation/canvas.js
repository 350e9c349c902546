// A grid of pixels to draw on, with a mouse, a finger or the keyboard. A pixel's ink is 0 to `darkest`.

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function made(tag, name, parent) {
  const node = document.createElement(tag);
  node.className = name;
  parent.append(node);
  return node;
}

/** How far (x, y) is from the line between two points, in pixels of the grid. */
function distance(x, y, [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const share = ((x - ax) * dx + (y - ay) * dy) / Math.max(dx * dx + dy * dy, 1e-9);
  const along = Math.min(1, Math.max(0, share));
  return Math.hypot(x - ax - along * dx, y - ay - along * dy);
}

function render({ model, el }) {
  const side = model.get("side");
  const darkest = model.get("darkest");
  const root = made("div", "cu-canvas", el);
  const caption = made("div", "cu-text-title", root);
  const grid = made("div", "cu-pixels", root);
  grid.style.setProperty("--side", side);
  grid.tabIndex = 0;
  grid.dataset.lmSuppressShortcuts = "true"; // arrows move here, not from cell to cell of the notebook
  grid.setAttribute("role", "application");
  const pixels = Array.from({ length: side * side }, () => made("div", "cu-pixel", grid));
  const marker = made("div", "cu-marker", grid);
  const help = made("div", "cu-help", root);
  help.textContent = "Draw with the mouse or a finger, with Shift to erase. Keys: arrows move, space paints, " +
    "Delete erases.";
  const spoken = made("span", "cu-spoken", root);
  spoken.setAttribute("aria-live", "polite");

  let at = { row: 0, column: 0 }; // the pixel that the keys act on
  let last = null; // where the pen was, while it is down

  function show() {
    const value = model.get("value");
    pixels.forEach((pixel, i) => { pixel.style.opacity = value[i] / darkest; });
    caption.textContent = model.get("caption");
    grid.setAttribute("aria-label", `${model.get("description")}: ${model.get("caption")}. ${help.textContent}`);
  }

  function mark() {
    marker.style.left = `${(100 * at.column) / side}%`;
    marker.style.top = `${(100 * at.row) / side}%`;
  }

  function say() {
    const ink = model.get("value")[at.row * side + at.column];
    spoken.textContent = `row ${at.row + 1}, column ${at.column + 1}: ${ink} of ${darkest}`;
  }

  /** One line of the pen: full under it, less at its edges. */
  function stroke(from, to, erase) {
    const before = model.get("value");
    const half = erase ? Math.max(1, model.get("pen")) : model.get("pen"); // an eraser is no finer than a pixel
    const after = before.map((ink, i) => {
      const far = distance((i % side) + 0.5, Math.floor(i / side) + 0.5, from, to);
      const cover = Math.floor(darkest * Math.min(1, Math.max(0, half + 0.5 - far)) + 0.5);
      return erase ? Math.min(ink, darkest - cover) : Math.max(ink, cover);
    });
    if (after.some((ink, i) => ink !== before[i])) {
      model.set("value", after);
      model.save_changes();
    }
  }

  function point(event) {
    const box = grid.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const cell = (share) => Math.min(side - 1, Math.max(0, Math.floor(share * side)));
    at = { row: cell(y), column: cell(x) };
    mark();
    return [x * side, y * side];
  }

  grid.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    grid.focus({ preventScroll: true });
    grid.setPointerCapture(event.pointerId); // a line may leave the grid and come back
    last = point(event);
    stroke(last, last, event.shiftKey);
  });
  grid.addEventListener("pointermove", (event) => {
    if (!last) return;
    const next = point(event);
    stroke(last, next, event.shiftKey);
    last = next;
  });
  for (const end of ["pointerup", "pointercancel"]) grid.addEventListener(end, () => { last = null; });

  grid.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inside = (value) => Math.min(side - 1, Math.max(0, value));
    const middle = [at.column + 0.5, at.row + 0.5];
    if (event.key in MOVES) {
      const [down, right] = MOVES[event.key];
      at = { row: inside(at.row + down), column: inside(at.column + right) };
      mark();
    } else if (event.key === " ") {
      stroke(middle, middle, event.shiftKey);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      const value = [...model.get("value")];
      value[at.row * side + at.column] = 0;
      model.set("value", value);
      model.save_changes();
    } else {
      return;
    }
    event.preventDefault(); // the page must not scroll, nor the notebook delete a cell
    event.stopPropagation();
    say();
  });

  model.on("change:value change:caption", show);
  show();
  mark();
  return () => model.off("change:value change:caption", show);
}

export default { render };
