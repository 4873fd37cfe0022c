// Schemas as lists of fields.

/** An element with attributes and children; texts become text, never markup. */
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key === 'on') Object.entries(value).forEach(([event, act]) => element.addEventListener(event, act));
    else if (value === true) element.setAttribute(key, '');
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat(9).filter((child) => child != null && child !== false && child !== ''));
  return element;
}

/** The document's texts: paragraphs, and `code` between backticks. */
function prose(text) {
  return text.split('`').map((part, index) => (index % 2 ? make('code', {}, part) : part));
}

/** What a reference stands for. */
function resolve(api, value) {
  let seen = value;
  while (seen?.$ref) {
    const target = seen.$ref.slice(2).split('/').reduce((at, key) => at?.[key.replace(/~1/g, '/').replace(/~0/g, '~')], api);
    const { $ref, ...beside } = seen;
    seen = { ...target, ...beside };
  }
  return seen ?? {};
}

/** The name of what a schema refers to. */
function nameOf(schema) {
  return schema.$ref?.split('/').pop();
}

/** The forms that a schema allows, null left out: that everything may be null is told once. */
function formsOf(api, schema) {
  const forms = (schema.oneOf ?? schema.anyOf ?? []).filter((form) => form.type !== 'null');
  return forms.flatMap((form) => {
    const inner = resolve(api, form);
    const isPlain = !inner.properties && (inner.oneOf || inner.anyOf);
    return isPlain ? formsOf(api, inner) : [form];
  });
}

/** The type of a value in a few words. */
function typeOf(api, raw) {
  const schema = resolve(api, raw);
  if ('const' in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.filter((value) => value !== null).map((value) => JSON.stringify(value)).join(' | ');
  const forms = formsOf(api, schema);
  if (forms.length) {
    const types = [...new Set(forms.map((form) => typeOf(api, form)))];
    return types.length > 3 && types.every((type) => type === 'object') ? 'object' : types.join(' | ');
  }
  const types = [schema.type ?? (schema.properties ? 'object' : 'any')].flat().filter((type) => type !== 'null');
  return types.map((type) => (type === 'array' ? `list of ${typeOf(api, schema.items ?? {})}` : type)).join(' | ') || 'null';
}

/** What a schema says of the size of a value. */
function boundsOf(api, raw) {
  const schema = resolve(api, raw);
  const range = (low, high, unit) => {
    if (low == null && high == null) return null;
    if (high == null || high >= 4294967295) return low ? `at least ${low}${low === 1 ? unit.replace(/s$/, '') : unit}` : null;
    return low ? `${low} to ${high}${unit}` : `${unit ? 'up' : '0'} to ${high}${unit}`;
  };
  return [
    range(schema.minimum, schema.maximum, ''),
    range(schema.minItems, schema.maxItems, ' items'),
    range(schema.minLength, schema.maxLength, ' characters'),
    schema.pattern?.startsWith('^[A') && `matches ${schema.pattern}`,
  ].filter(Boolean).join(', ');
}

/** What is inside of a value, to be opened: the fields of an object, the forms there are. `path` holds the schemas around it. */
function insideOf(api, raw, path) {
  const schema = resolve(api, raw);
  const name = nameOf(raw);
  if (name && path.includes(name)) return null;
  const around = name ? [...path, name] : path;
  if (schema.items) return insideOf(api, schema.items, around);
  if (schema.properties) return fieldsOf(api, schema, around);
  const forms = formsOf(api, schema).filter((form) => {
    const inner = resolve(api, form);
    return inner.properties || inner.items;
  });
  const insides = forms.map((form) => [form, insideOf(api, form, around)]).filter(([, inside]) => inside);
  if (insides.length === 1) return insides[0][1];
  if (!insides.length) return null;
  return make('div', {}, insides.map(([form, inside]) => make('div', { class: 'variant' }, titleOf(api, form), inside)));
}

/** What tells one form from the others: the words that its fields are fixed to. */
function titleOf(api, form) {
  const schema = resolve(api, form);
  const target = schema.items ? resolve(api, schema.items) : schema;
  const fixed = ['role', 'type'].map((key) => target.properties?.[key]).find((field) => field && ('const' in field || field.enum));
  const word = fixed && typeOf(api, fixed);
  const about = schema.description ?? target.description;
  return make('div', { class: 'title' }, word && make('code', {}, word), word && about ? ' ' : '', about ? prose(about) : '');
}

/** The fields of an object. */
function fieldsOf(api, schema, path) {
  const required = schema.required ?? [];
  const names = Object.keys(schema.properties);
  // Those that must be there come first.
  names.sort((a, b) => required.includes(b) - required.includes(a));
  const rows = names.map((name) => fieldOf(api, name, schema.properties[name], required.includes(name), path));
  const ignored = schema['x-couplet-ignored'];
  if (ignored) {
    const list = ignored.flatMap((name, index) => [index ? ', ' : '', make('code', {}, name)]);
    rows.push(make('li', { class: 'ignored' }, 'Accepted and ignored: ', list, '.'));
  }
  return make('ul', { class: 'fields' }, rows);
}

function fieldOf(api, name, raw, isRequired, path) {
  const schema = resolve(api, raw);
  const isRefused = schema.type === 'null';
  const inside = insideOf(api, raw, path);
  const bounds = boundsOf(api, raw);
  const about = raw.description ?? describedBy(api, schema);
  return make('li', {},
    make('span', { class: 'name' }, name),
    make('span', { class: 'type' }, isRefused ? 'null' : typeOf(api, raw)),
    isRequired && make('span', { class: 'must' }, 'required'),
    bounds && make('span', { class: 'bounds' }, ` ${bounds}`),
    about && make('p', { class: 'what' }, prose(about)),
    inside && make('details', {}, make('summary', {}, 'Its fields'), inside));
}

/** The description of a schema; of one that may be null as well, that of the other form. */
function describedBy(api, schema) {
  if (schema.description) return schema.description;
  const forms = (schema.anyOf ?? []).filter((form) => form.type !== 'null');
  return forms.length === 1 ? resolve(api, forms[0]).description : undefined;
}
