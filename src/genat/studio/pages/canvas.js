const canvas = element.querySelector("canvas"), where = element.querySelector(".where");
const color = element.querySelector("input[type=color]"), brush = element.querySelector("input[type=range]");
const SIDE = 320;
let sheet = null, scale = 1, row = 0, column = 0, down = false;

const decoded = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
const encoded = (bytes) => btoa(Array.from(bytes, (one) => String.fromCharCode(one)).join(""));

function load() {
  if (!props.value) return;
  const { shape: [channels, height, width], pixels, mask, origin } = JSON.parse(props.value);
  sheet = { channels, height, width, pixels: decoded(pixels), mask: decoded(mask), origin };
  scale = Math.max(1, Math.floor(SIDE / Math.max(height, width)));
  canvas.width = width * scale;
  canvas.height = height * scale;
  row = Math.min(row, height - 1);
  column = Math.min(column, width - 1);
  draw();
}

function save() {
  const { channels, height, width, pixels, mask, origin } = sheet;
  props.value = JSON.stringify({
    shape: [channels, height, width], pixels: encoded(pixels), mask: encoded(mask), origin,
  });
}

function draw() {
  const { channels, height, width, pixels, mask } = sheet, context = canvas.getContext("2d");
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * channels, of = (i) => pixels[at + (channels === 3 ? i : 0)];
      context.fillStyle = `rgb(${of(0)},${of(1)},${of(2)})`;
      context.fillRect(x * scale, y * scale, scale, scale);
    }
  }
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!mask[y * width + x]) continue;
      context.fillStyle = "rgba(255, 120, 0, 0.35)";
      context.fillRect(x * scale, y * scale, scale, scale);
      for (const [shade, shift] of [["#000", 0], ["#fff", 1]]) {
        context.strokeStyle = shade;
        context.beginPath();
        context.moveTo(x * scale + shift, (y + 1) * scale);
        context.lineTo((x + 1) * scale, y * scale + shift);
        context.stroke();
      }
    }
  }
  if (document.activeElement === canvas) {
    for (const [shade, inset] of [["#000", 0.5], ["#fff", 1.5]]) {
      context.strokeStyle = shade;
      context.strokeRect(column * scale + inset, row * scale + inset, scale - 2 * inset, scale - 2 * inset);
    }
  }
  const marked = mask.reduce((sum, one) => sum + one, 0);
  const moves = marked ? `${marked} of ${mask.length} pixels are marked: they alone move` : "no pixel is marked: all move";
  where.textContent = `row ${row + 1}, column ${column + 1}; ${moves}`;
}

function apply() {
  const tool = element.querySelector("input[name=tool]:checked").value, reach = (Number(brush.value) - 1) / 2;
  const [red, green, blue] = [1, 3, 5].map((i) => parseInt(color.value.slice(i, i + 2), 16));
  const grey = Math.round(0.299 * red + 0.587 * green + 0.114 * blue);
  for (let y = Math.max(0, row - reach); y <= Math.min(sheet.height - 1, row + reach); y++) {
    for (let x = Math.max(0, column - reach); x <= Math.min(sheet.width - 1, column + reach); x++) {
      const at = y * sheet.width + x;
      if (tool === "paint") {
        sheet.pixels.set(sheet.channels === 3 ? [red, green, blue] : [grey], at * sheet.channels);
        sheet.origin = null;
      } else {
        sheet.mask[at] = tool === "mark" ? 1 : 0;
      }
    }
  }
  draw();
}

function point(event) {
  const box = canvas.getBoundingClientRect();
  const place = (at, start, length, count) => Math.min(count - 1, Math.max(0, Math.floor(((at - start) / length) * count)));
  column = place(event.clientX, box.left, box.width, sheet.width);
  row = place(event.clientY, box.top, box.height, sheet.height);
}

canvas.addEventListener("pointerdown", (event) => {
  if (!sheet) return;
  canvas.setPointerCapture(event.pointerId);
  down = true;
  point(event);
  apply();
});
canvas.addEventListener("pointermove", (event) => {
  if (!down) return;
  point(event);
  apply();
});
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, () => {
    if (down) save();
    down = false;
  });
}
canvas.addEventListener("keydown", (event) => {
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  if (!sheet || !(event.key in moves || event.key === " ")) return;
  event.preventDefault();
  if (event.key === " ") {
    apply();
    save();
    return;
  }
  const [downward, rightward] = moves[event.key];
  row = Math.min(sheet.height - 1, Math.max(0, row + downward));
  column = Math.min(sheet.width - 1, Math.max(0, column + rightward));
  draw();
});
canvas.addEventListener("focus", () => sheet && draw());
canvas.addEventListener("blur", () => sheet && draw());
watch("value", load);
load();
