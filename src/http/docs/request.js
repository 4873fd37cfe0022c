// Requests: as curl, and tried from the page. The key stays in the field it is typed into.

const base = new URL('.', document.baseURI).href.replace(/\/$/, '');

function keyField() {
  return document.getElementById('key');
}

function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The command for a request. It names the key and never shows it. */
function curl(request, needsKey) {
  const parts = [`curl ${quoted(request.url)}`];
  if (request.method !== 'GET') parts[0] = `curl -X ${request.method} ${quoted(request.url)}`;
  if (request.streams) parts[0] = parts[0].replace('curl', 'curl -N');
  if (needsKey && keyField().value) parts.push(`-H "authorization: Bearer $COUPLET_KEY"`);
  for (const [name, value] of Object.entries(request.headers)) parts.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (request.body != null) {
    parts.push(`-H 'content-type: application/json'`);
    parts.push(`-d ${quoted(request.body)}`);
  }
  return parts.join(' \\\n  ').replace(/^curl -X POST/, 'curl').replace(/^curl -N -X POST/, 'curl -N');
}

/** Sends a request and tells `show` what comes, as it comes. */
async function send(request, needsKey, signal, show) {
  const headers = { ...request.headers };
  if (needsKey && keyField().value) headers.authorization = `Bearer ${keyField().value}`;
  if (request.body != null) headers['content-type'] = 'application/json';
  const begun = performance.now();
  const passed = () => Math.round(performance.now() - begun);
  const response = await fetch(request.url, { method: request.method, headers, body: request.body, signal, cache: 'no-store', credentials: 'omit' });
  const told = ['x-request-id', 'x-couplet-ignored', 'retry-after'].map((name) => [name, response.headers.get(name)]).filter(([, value]) => value);
  show.head(response.status, passed(), told);
  if (!response.headers.get('content-type')?.startsWith('text/event-stream')) {
    show.whole(await response.text(), response.headers.get('content-type') ?? '');
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const events = (rest + value).split('\n\n');
    rest = events.pop();
    events.forEach((event) => show.event(event));
  }
  show.end(passed());
}

/** The text that an event of a stream adds to the answer, whichever API it is of. */
function textOf(event) {
  const data = event.split('\n').filter((line) => line.startsWith('data: ')).map((line) => line.slice(6)).join('\n');
  try {
    const value = JSON.parse(data);
    const choice = value.choices?.[0];
    return choice?.delta?.content ?? choice?.text ?? value.delta?.text ?? '';
  } catch {
    return '';
  }
}
