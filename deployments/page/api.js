// Requests to the HTTP API: the key, problems as errors, and events.

const KEY = "headsplat-key";
const FINAL = ["succeeded", "rejected", "failed", "cancelled"];
const RECONNECT_MS = 1000;

/** Why something did not happen, as RFC 9457 has it: `title` and `detail` are sentences. */
export class Problem extends Error {
  constructor({ title, detail, status = 0, code = "" }, retryAfterS = 0) {
    super(detail || title);
    Object.assign(this, { title, detail, status, code, retryAfterS });
  }
}

export const isFinal = (state) => FINAL.includes(state);
export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const forgetKey = () => sessionStorage.removeItem(KEY);
export const keepKey = (key) => sessionStorage.setItem(KEY, key);

let askForKey = null;
/** From now on a key is needed: `ask(wasRefused)` asks for one and keeps it, or throws. */
export const whenKeyIsMissing = (ask) => {
  askForKey = ask;
};

/** The answer to a request, which is sent again if it takes a key to be answered. */
export async function send(path, options = {}) {
  if (askForKey && !hasKey()) await askForKey(false);
  const key = sessionStorage.getItem(KEY);
  const headers = new Headers(options.headers);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  const answer = await reach(path, { ...options, headers });
  if (answer.ok) return answer;
  if (answer.status === 401 && askForKey) {
    if (key === sessionStorage.getItem(KEY)) await askForKey(true);
    return send(path, options);
  }
  const problem = await answer.json().catch(() => ({ title: `The service answered ${answer.status}.` }));
  throw new Problem({ status: answer.status, ...problem }, Number(answer.headers.get("Retry-After")));
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({
      title: "The service does not answer.",
      detail: "Check that headsplat serve is running and that you are connected, then try again.",
    });
  }
}

export const read = async (path, signal) => (await send(path, { signal })).json();
export const readBlob = async (path, signal) => (await send(path, { signal })).blob();

/** Have an avatar made of a photo; the job. */
export async function submit(photo) {
  const body = new FormData();
  body.append("photo", photo, "photo");
  body.append("options", JSON.stringify({ formats: ["ply", "spz", "glb"] }));
  return (await send("/v1/avatars", { method: "POST", body })).json();
}

/**
 * Call `tell(kind, data)` for each event of a job from its first on, until it has finished. While
 * the service does not answer, `tell("lost", problem)` is called and the events are asked for again.
 */
export async function follow(id, tell, signal) {
  let last = 0;
  for (;;) {
    try {
      const headers = { "Last-Event-ID": String(last) };
      const answer = await send(`/v1/avatars/${id}/events`, { headers, signal });
      for await (const event of parse(answer.body)) {
        last = event.id ?? last;
        tell(event.kind, event.data);
        if (event.kind === "erased" || isFinal(event.data.state)) return;
      }
    } catch (error) {
      if (signal.aborted || error.status) throw error;
      if (error instanceof Problem) tell("lost", error);
    }
    await new Promise((done) => setTimeout(done, RECONNECT_MS));
  }
}

async function* parse(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (text + value).replaceAll("\r\n", "\n").split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = {};
      for (const line of block.split("\n")) {
        const [, name, content] = line.match(/^(\w+): ?(.*)$/) ?? [];
        if (name) fields[name] = content;
      }
      if (!fields.data) continue;
      const id = fields.id ? Number(fields.id) : undefined;
      yield { id, kind: fields.event, data: JSON.parse(fields.data) };
    }
  }
}
