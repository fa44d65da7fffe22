"use strict";
// The records of the scenes lie in the page, or the page's own server gives each when it is asked for.
const at = (id) => document.getElementById(id);
const records = JSON.parse(at("records").textContent);
const name = document.title;
const config = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
let asked = 0;

async function recordOf(scene) {
  if (records !== null) return records[scene];
  const answer = await fetch(`scene/${scene}`);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

async function show() {
  const choice = at("scene"), mine = ++asked;
  at("previous").disabled = choice.selectedIndex === 0;
  at("next").disabled = choice.selectedIndex === choice.options.length - 1;
  say("Locating …");
  try {
    const record = await recordOf(choice.value);
    if (mine !== asked) return; // another scene has been chosen since
    document.title = `Scene ${record.scene}: ${name}`;
    at("summary").textContent = record.summary;
    fill(record.rows);
    for (const [id, figure] of Object.entries(record.figures)) {
      at(id).setAttribute("aria-label", figure.words);
      if (id === "space" && innerWidth < 640) stepBack(figure.layout.scene.camera.eye);
      await Plotly.react(id, figure.data, figure.layout, config);
    }
    await cut();
    say("");
  } catch (error) {
    if (mine === asked) say(`Scene ${choice.value}: ${error.message}`, "error");
  }
}

// A narrow window needs a view from farther away.
function stepBack(eye) {
  const length = Math.hypot(eye.x, eye.y, eye.z);
  for (const axis of ["x", "y", "z"]) eye[axis] *= 2.8 / length;
}

function say(words, kind = "") {
  at("status").textContent = words;
  at("status").className = kind;
}

function fill(rows) {
  const lines = rows.map(({ cells, resolved }) => {
    const line = document.createElement("tr");
    line.className = resolved ? "" : "unresolved";
    line.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    return line;
  });
  at("sources").tBodies[0].replaceChildren(...lines);
}

// The bands of the spectrum down to the chosen level.
async function cut() {
  const traces = at("space").data;
  const bands = traces.flatMap((trace, i) => (trace.meta && trace.meta.within_db ? [i] : []));
  const ends = bands.map((i) => traces[i].meta.within_db);
  at("level").max = ends.length - 1;
  const within = ends[at("level").value];
  at("within").textContent = `${within} dB`;
  await Plotly.restyle("space", { visible: ends.map((end) => end <= within) }, bands);
}

function step(by) {
  at("scene").selectedIndex += by;
  show();
}

at("choice").addEventListener("submit", (event) => event.preventDefault());
at("scene").addEventListener("change", show);
at("previous").addEventListener("click", () => step(-1));
at("next").addEventListener("click", () => step(1));
at("level").addEventListener("input", cut);
show();
