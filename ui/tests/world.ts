// A cluster that is not there (bin/ui/examples/fake), the page's server in front of it, and a browser.
import { test as base, expect, type Page } from '@playwright/test';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');
const out = join(root, 'target/ui-test');
const programs = join(root, 'target/debug');

export interface World {
  /** The page. */
  url: string;
  /** Lets somebody new be denied. */
  intrude(): Promise<void>;
  /** Ends the servers of flows. */
  end(): Promise<void>;
}

async function port(): Promise<number> {
  return new Promise((done, failed) => {
    const server = createServer();
    server.on('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => (address && typeof address === 'object' ? done(address.port) : failed(new Error('no port'))));
    });
  });
}

async function until(url: string): Promise<void> {
  for (let n = 0; n < 100; n++) {
    if (await fetch(url).then((r) => r.ok, () => false)) return;
    await new Promise((wait) => setTimeout(wait, 100));
  }
  throw new Error(`${url} does not answer`);
}

async function stop(child: ChildProcess): Promise<void> {
  // Who was ended by a signal has no code.
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((done) => child.once('exit', done));
  child.kill();
  await ended;
}

export const test = base.extend<{ scene: string[]; world: World }>({
  /** More arguments of the fake. */
  scene: [[], { option: true }],
  world: async ({ scene }, use) => {
    const [hubble, api, own] = [await port(), await port(), await port()];
    mkdirSync(out, { recursive: true });
    const kubeconfig = join(out, `kubeconfig-${own}`);
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        apiVersion: 'v1', kind: 'Config', 'current-context': 'x',
        clusters: [{ name: 'c', cluster: { server: `http://127.0.0.1:${api}` } }],
        users: [{ name: 'u', user: {} }],
        contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      }),
    );
    const run = (program: string, args: string[]) => spawn(join(programs, program), args, { stdio: 'inherit' });
    const fake = run('examples/fake', ['--hubble', `127.0.0.1:${hubble}`, '--api', `127.0.0.1:${api}`, ...scene]);
    await until(`http://127.0.0.1:${api}/api/v1/pods`);
    const server = run('hubble-ui', [
      '--listen-address', `127.0.0.1:${own}`, '--relay', `127.0.0.1:${hubble}`,
      '--assets', join(root, 'target/ui'), '--kubeconfig', kubeconfig, '--base-url', '/hubble',
    ]);
    const url = `http://127.0.0.1:${own}/hubble/`;
    await until(url);
    await use({
      url,
      intrude: async () => void (await fetch(`http://127.0.0.1:${api}/flow`, { method: 'POST' })),
      end: () => stop(fake),
    });
    await Promise.all([stop(server), stop(fake)]);
  },
});

/** Keeps a picture of the page beside the other output. */
export async function shot(page: Page, name: string): Promise<void> {
  mkdirSync(join(out, 'screens'), { recursive: true });
  await page.screenshot({ path: join(out, 'screens', `${name}.png`) });
}

export const card = (page: Page, name: string) => page.locator(`.card[aria-label$=" ${name}"]`);
export const flows = (page: Page) => page.locator('.flow');
export { expect };
