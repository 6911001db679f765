// Asking the server. Paths are relative to the page.

async function answer<T>(response: Response): Promise<T> {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error ?? `the server said ${response.status}`);
  return body as T;
}

export async function get<T>(path: string): Promise<T> {
  return answer<T>(await fetch(`api/v1/${path}`));
}

export async function post<T>(path: string, what: unknown, signal?: AbortSignal): Promise<T> {
  const headers = { 'content-type': 'application/json' };
  return answer<T>(
    await fetch(`api/v1/${path}`, { method: 'POST', headers, body: JSON.stringify(what), signal }),
  );
}

/** Events of a stream, until `signal` ends it. Throws what the server refuses, and what the network does. */
export async function* events(path: string, signal: AbortSignal): AsyncGenerator<[string, unknown]> {
  const response = await fetch(`api/v1/${path}`, { signal });
  if (!response.ok || !response.body) {
    await answer(response);
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
        const [name, data] = parse(rest.slice(0, end));
        rest = rest.slice(end + 2);
        if (data) yield [name, JSON.parse(data)];
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(text: string): [string, string] {
  let name = '';
  let data = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('event:')) name = line.slice(6).trim();
    else if (line.startsWith('data:')) data += line.slice(5).trimStart();
  }
  return [name, data];
}
