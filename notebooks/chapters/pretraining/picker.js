// A file chooser that looks at a file's size before it reads it: a huge file would break the kernel's connection.

const SILENT_MS = 10_000;
const SILENT = " The kernel does not answer: it is busy, or has been restarted. Run this cell again, then choose the file.";

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function render({ model, el }) {
  const label = document.createElement("label");
  label.className = "cu-picker";
  label.append(`${model.get("label")} `);
  const input = document.createElement("input");
  input.type = "file";
  label.append(input);
  const note = document.createElement("span");
  note.className = "cu-help";
  note.setAttribute("role", "status");
  label.append(note);
  el.append(label);

  input.addEventListener("change", async () => {
    const [file] = input.files;
    if (!file) return;
    const limit = model.get("limit");
    if (file.size > limit) {
      const text = `${file.name} has ${megabytes(file.size)}: the most is ${megabytes(limit)}. Cut a piece out of it.`;
      note.textContent = ` ${text}`;
      model.send({ type: "refused", text });
    } else {
      note.textContent = ` reading ${file.name} …`;
      const content = await file.arrayBuffer();
      const silent = setTimeout(() => { note.textContent = SILENT; }, SILENT_MS);
      model.off("msg:custom");
      model.on("msg:custom", () => {
        clearTimeout(silent);
        note.textContent = ` ${file.name}, ${megabytes(file.size)}`;
      });
      try {
        model.send({ type: "file", name: file.name }, undefined, [content]);
      } catch {
        note.textContent = SILENT;
      }
    }
    input.value = ""; // the same file may be chosen again
  });
}

export default { render };
