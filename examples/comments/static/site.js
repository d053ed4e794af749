// Posts without leaving the page, and shows what others post as it comes.
"use strict";

const form = document.getElementById("form");
const list = document.getElementById("comments");
const trouble = document.getElementById("trouble");
const state = document.getElementById("state");

// Everything of others goes in as text, never as HTML.
function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function show(comment) {
  if (list.querySelector(`[data-key="${CSS.escape(comment.key)}"]`)) return;
  const row = element("li", "comment new", "");
  row.dataset.id = comment.id;
  row.dataset.key = comment.key;
  const at = new Date(comment.at * 1000);
  const time = element("time", "", at.toLocaleString());
  time.dateTime = at.toISOString();
  const head = document.createElement("header");
  head.append(element("b", "author", comment.author), " ", time);
  row.append(head, element("p", "text", comment.text));
  const older = [...list.children].find((other) => Number(other.dataset.id) < comment.id);
  list.insertBefore(row, older ?? null);
  count();
}

function count() {
  document.getElementById("count").textContent = list.children.length || "";
}

// A comment that is sent again, by the gateway or by its writer, has the same key until it is there.
function newKey() {
  form.elements.key.value = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`.slice(0, 64);
}

async function post() {
  const key = form.elements.key.value;
  const answer = await fetch(form.action, {
    method: "POST",
    headers: { Accept: "application/json", "Idempotency-Key": key },
    body: new URLSearchParams(new FormData(form)),
  });
  if (answer.status === 422) throw new Error(await answer.text());
  if (!answer.ok) throw new Error(`The site answered ${answer.status}. Your text is still here.`);
  show(await answer.json());
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  trouble.hidden = true;
  try {
    await post();
    form.elements.text.value = "";
    localStorage.setItem("author", form.elements.author.value);
    newKey();
    form.dispatchEvent(new CustomEvent("posted"));
  } catch (error) {
    trouble.textContent = error.message;
    trouble.hidden = false;
    form.dispatchEvent(new CustomEvent("failed", { detail: error.message }));
  } finally {
    button.disabled = false;
  }
});

let pause = 100;

// The newest that is shown with all before it. One's own comment may be here before older ones of
// others, so it does not count until it comes by the socket.
let heard = Math.max(0, ...[...list.children].map((row) => Number(row.dataset.id)));

function listen() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/live?after=${heard}`);
  socket.onopen = () => {
    pause = 100;
    tell("live", "live");
  };
  socket.onmessage = (event) => {
    const comment = JSON.parse(event.data);
    heard = Math.max(heard, comment.id);
    show(comment);
  };
  socket.onclose = () => {
    tell("off", "connecting again");
    setTimeout(listen, pause * (0.5 + Math.random()));
    pause = Math.min(2 * pause, 5000);
  };
}

function tell(word, text) {
  state.dataset.state = word;
  state.textContent = text;
}

form.elements.author.value = localStorage.getItem("author") ?? "";
count();
listen();
