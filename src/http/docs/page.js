// The page.

function anchor(path, method) {
  return `${method}-${path.replace(/[^a-z0-9]+/gi, '-').replace(/^-|-$/g, '')}`;
}

function operations(api) {
  return Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation, id: anchor(path, method) })));
}

function methodTag(method) {
  return make('span', { class: `method ${method}` }, method.toUpperCase());
}

/** A path that may be broken before its slashes and underscores only. */
function breakable(path) {
  return path.split(/(?=[/_])/).flatMap((part, index) => (index ? [make('wbr'), part] : [part]));
}

function contents(api) {
  const groups = api.tags.map(({ name }) => {
    const of = operations(api).filter(({ operation }) => operation.tags.includes(name));
    const links = of.map(({ path, method, id }) =>
      make('li', {}, make('a', { href: `#${id}` }, methodTag(method), make('span', { class: 'path' }, breakable(path)))));
    return of.length ? [make('h2', {}, name), make('ul', {}, links)] : [];
  });
  return groups.flat();
}

function isTheOperators(operation) {
  return operation.security?.some((one) => 'admin' in one);
}

function needsKey(api, operation) {
  return (operation.security ?? api.security).length > 0;
}

function article(api, { path, method, operation, id }) {
  const schema = operation.requestBody?.content['application/json'].schema;
  const parameters = operation.parameters ?? [];
  const left = make('div', {},
    operation.description && make('p', {}, prose(operation.description)),
    parameters.length > 0 && [make('h4', {}, 'Parameters'), make('ul', { class: 'fields' }, parameters.map((raw) => {
      const parameter = resolve(api, raw);
      return fieldOf(api, `${parameter.name}`, { ...resolve(api, parameter.schema), description: `In the ${parameter.in}. ${parameter.description ?? ''}` }, parameter.required, []);
    }))],
    schema && [make('h4', {}, 'Body'), insideOf(api, schema, [])],
    make('h4', {}, 'Answers'), answers(api, operation));
  return make('article', { id },
    make('h3', {}, methodTag(method), make('a', { href: `#${id}` }, make('code', {}, path)),
      !needsKey(api, operation) && make('span', { class: 'lock' }, 'open without a key'),
      isTheOperators(operation) && make('span', { class: 'lock' }, 'takes the admin key')),
    make('p', { class: 'summary' }, operation.summary),
    make('div', { class: 'two' }, left, trial(api, { path, method, operation })));
}

function answers(api, operation) {
  const rows = Object.entries(operation.responses).map(([status, raw]) => {
    const response = resolve(api, raw);
    const isGood = status < 300;
    const inside = isGood && Object.entries(response.content ?? {}).map(([kind, media]) => {
      const fields = insideOf(api, media.schema ?? {}, []);
      return fields && make('details', {}, make('summary', {}, kind), fields);
    });
    return [isGood, make('li', {}, make('b', {}, status), prose(response.description), inside)];
  });
  const of = (good) => make('ul', { class: 'statuses' }, rows.filter(([isGood]) => isGood === good).map(([, row]) => row));
  return [of(true), make('details', {}, make('summary', {}, 'When it fails'), of(false))];
}

/** The form in which a request is tried. */
function trial(api, { path, method, operation }) {
  const examples = Object.values(operation.requestBody?.content['application/json'].examples ?? {});
  const locked = needsKey(api, operation);
  const fields = (operation.parameters ?? []).map((raw) => {
    const parameter = resolve(api, raw);
    const value = parameter.in === 'path' ? Object.values(parameter.examples ?? {})[0]?.value ?? '' : '';
    return { ...parameter, input: make('input', { value, placeholder: parameter.example, spellcheck: 'false' }) };
  });
  const body = examples.length ? make('textarea', { spellcheck: 'false', 'aria-label': 'Body' }) : null;
  const choice = make('select', { 'aria-label': 'Example' }, examples.map(({ summary }, index) => make('option', { value: index }, summary)));
  const command = make('pre', { tabindex: '0', 'aria-label': 'As curl' });
  const answer = make('div', { class: 'answer', 'aria-live': 'polite' });
  const button = make('button', { type: 'button', class: 'send' }, 'Send');

  const request = () => {
    const filled = fields.filter(({ input }) => input.value !== '');
    const inPath = (text) => filled.filter((field) => field.in === 'path').reduce((at, { name, input }) => at.replace(`{${name}}`, encodeURIComponent(input.value)), text);
    const query = new URLSearchParams(filled.filter((field) => field.in === 'query').map(({ name, input }) => [name, input.value]));
    const headers = Object.fromEntries(filled.filter((field) => field.in === 'header').map(({ name, input }) => [name, input.value]));
    const url = base + inPath(path) + (query.size ? `?${query}` : '');
    return { url, method: method.toUpperCase(), headers, body: body?.value, streams: /"stream":\s*true/.test(body?.value ?? '') };
  };
  const renew = () => { command.textContent = curl(request(), locked); };
  const fill = () => {
    if (body) body.value = JSON.stringify(examples[choice.value || 0].value, null, 2);
    if (body) body.rows = Math.min(18, body.value.split('\n').length);
    renew();
  };

  let underWay = null;
  const tell = async () => {
    if (underWay) { underWay.abort(); return; }
    underWay = new AbortController();
    button.textContent = 'Stop';
    answer.replaceChildren(make('h4', {}, 'Answer'), make('p', { class: 'meta' }, 'Waiting …'));
    try {
      await send(request(), locked, underWay.signal, shown(answer));
    } catch (error) {
      const said = error.name === 'AbortError' ? 'Stopped.' : `No answer: ${error.message}`;
      answer.append(make('p', { class: 'status bad' }, said));
    }
    underWay = null;
    button.textContent = 'Send';
  };

  choice.addEventListener('change', fill);
  body?.addEventListener('input', renew);
  fields.forEach(({ input }) => input.addEventListener('input', renew));
  keyField().addEventListener('input', renew);
  button.addEventListener('click', tell);
  fill();
  return make('div', { class: 'try' },
    make('h4', {}, 'Try it'),
    fields.map(({ name, input }) => make('label', { class: 'in' }, name, input)),
    body && [examples.length > 1 && make('div', { class: 'bar' }, choice), body],
    make('div', { class: 'bar' }, button),
    answer,
    make('div', { class: 'bar' }, make('h4', {}, 'curl'), copying(command)), command);
}

/** Copies a text, where the browser lets pages do that. */
function copying(element) {
  if (!navigator.clipboard) return null;
  const button = make('button', { type: 'button', class: 'copy' }, 'Copy');
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(element.textContent);
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  });
  return button;
}

/** What shows an answer as it comes. */
function shown(answer) {
  const raw = make('pre', { tabindex: '0', 'aria-label': 'Answer' });
  const text = make('div', { class: 'text' });
  const meta = make('span', { class: 'meta' });
  const heading = make('h4', {}, 'Answer');
  return {
    head(status, milliseconds, headers) {
      meta.textContent = ` after ${milliseconds} ms`;
      const told = headers.map(([name, value]) => make('div', { class: 'meta' }, `${name}: ${value}`));
      const word = make('span', { class: status < 400 ? 'status' : 'status bad' }, `${status}`);
      answer.replaceChildren(heading, make('div', {}, word, meta), make('div', {}, told));
    },
    whole(body, kind) {
      const isJson = kind.startsWith('application/json');
      raw.textContent = isJson ? JSON.stringify(JSON.parse(body), null, 2) : body;
      answer.append(raw);
    },
    event(event) {
      if (!raw.isConnected) answer.append(text, make('details', {}, make('summary', {}, 'The events'), raw));
      text.append(textOf(event));
      raw.append(`${event}\n\n`);
    },
    end(milliseconds) { meta.textContent += `, complete after ${milliseconds} ms`; },
  };
}

function draw(api) {
  document.getElementById('version').textContent = api.info.version;
  document.getElementById('contents').replaceChildren(...contents(api));
  const intro = make('section', { id: 'top' },
    make('h1', {}, api.info.summary),
    api.info.description.split('\n\n').map((paragraph) => make('p', { class: 'lead' }, prose(paragraph))),
    make('p', { class: 'lead' }, 'All of this for programs: ', make('a', { href: 'openapi.json' }, 'openapi.json'), '. ',
      make('span', { id: 'key-note' }, 'A key typed above stays in this page, goes to this server only, and is gone when the page is closed.')));
  const sections = api.tags.map(({ name, description }) => {
    const of = operations(api).filter(({ operation }) => operation.tags.includes(name));
    return of.length && make('section', {}, make('h2', {}, name), make('p', { class: 'about' }, prose(description)), of.map((one) => article(api, one)));
  });
  document.getElementById('main').replaceChildren(intro, ...sections.filter(Boolean));
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

/** Marks the endpoint that is being read in the contents. */
function follow() {
  const links = new Map([...document.querySelectorAll('nav a')].map((link) => [link.hash.slice(1), link]));
  const watch = new IntersectionObserver((entries) => {
    const seen = entries.find((entry) => entry.isIntersecting);
    if (!seen) return;
    links.forEach((link, id) => link.classList.toggle('here', id === seen.target.id));
  }, { rootMargin: '-15% 0px -75% 0px' });
  document.querySelectorAll('article').forEach((one) => watch.observe(one));
}

function openMenu() {
  const menu = document.getElementById('menu');
  const nav = document.getElementById('contents');
  const set = (open) => {
    nav.classList.toggle('open', open);
    menu.setAttribute('aria-expanded', open);
  };
  menu.addEventListener('click', () => set(!nav.classList.contains('open')));
  nav.addEventListener('click', (event) => { if (event.target.closest('a')) set(false); });
  document.addEventListener('keydown', (event) => { if (event.key === 'Escape') set(false); });
}

/** Whether answers are scripted. */
async function tellMode() {
  const health = await fetch('health', { cache: 'no-store' }).then((response) => response.json());
  if (health.mode !== 'demo') return;
  const note = make('p', { class: 'demo' }, 'This server is a demo: no model answers, all answers are scripted.');
  document.querySelector('#top h1').after(note);
}

async function begin() {
  openMenu();
  try {
    const response = await fetch('openapi.json', { cache: 'no-store' });
    draw(await response.json());
    follow();
    await tellMode();
  } catch (error) {
    document.getElementById('state')?.append(` It cannot be read: ${error.message}`);
  }
}

begin();
