// Against a real cluster (tools/ui.sh lab): AXONEME_UI_URL is the page, KUBECTL a command that asks the API server.
import { execFileSync } from 'node:child_process';
import { card, expect, flows, shot } from './world';
import { test } from '@playwright/test';

const url = process.env.AXONEME_UI_URL ?? '';
const [kubectl = 'kubectl', ...before] = (process.env.KUBECTL ?? 'kubectl').split(' ');
const namespace = 'ui-test';

function kube(args: string[], input?: string): string {
  return execFileSync(kubectl, [...before, ...args], { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'inherit'] });
}

/** A pod of the lab's test image, which has the tool `probe` and a shell. */
function pod(name: string, what: object): object {
  return {
    apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels: { app: name } },
    spec: {
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'main', image: 'localhost/axoneme/test:dev', imagePullPolicy: 'IfNotPresent', ...what }],
    },
  };
}

/** A client that asks all the time. */
const ask = (address: string, seconds: number) => ({
  command: ['sh', '-c', `while :; do probe connect ${address}:80 --timeout 1000; sleep ${seconds}; done`],
});

const policy = {
  apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'only-friends', namespace },
  spec: { endpointSelector: { matchLabels: { app: 'server' } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'friend' } }] }] },
};

function apply(items: object[]): void {
  kube(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
  kube(['-n', namespace, 'wait', '--for=condition=Ready', 'pod', '--all', '--timeout=90s']);
}

test.beforeAll(() => {
  test.setTimeout(300_000);
  // What an earlier run left is gone first, and pods need the account that a namespace gets a little later.
  kube(['delete', 'namespace', namespace, '--ignore-not-found']);
  kube(['create', 'namespace', namespace]);
  kube(['-n', namespace, 'wait', '--for=create', 'serviceaccount/default', '--timeout=60s']);
  apply([pod('server', { args: ['serve', '--tcp', '80'] })]);
  const address = kube(['-n', namespace, 'get', 'pod', 'server', '-o', 'jsonpath={.status.podIP}']);
  apply([pod('friend', ask(address, 0.5)), pod('stranger', ask(address, 1))]);
});

test.afterAll(() => void kube(['delete', 'namespace', namespace, '--wait=false']));

test('services are on the map, and a policy made from a denied flow lets it pass', async ({ page }) => {
  test.setTimeout(240_000);
  await page.goto(url);
  await page.getByLabel('Filter', { exact: true }).fill(`ns:${namespace} port:80`);
  for (const name of ['friend', 'stranger', 'server']) await expect(card(page, name)).toBeVisible({ timeout: 30_000 });
  await shot(page, 'lab-map');

  // Denied from now on, and seen within a second of the first packet that is dropped.
  kube(['apply', '-f', '-'], JSON.stringify(policy));
  const denied = flows(page).filter({ hasText: 'stranger' }).and(page.locator('[data-verdict="DROPPED"]'));
  await expect(denied.first()).toBeVisible({ timeout: 30_000 });
  const lag: number[] = [];
  for (let round = 0; round < 4; round++) {
    const text = await denied.first().innerText();
    await expect.poll(async () => denied.first().innerText(), { intervals: [20], timeout: 15_000 }).not.toBe(text);
    const [hours = 0, minutes = 0, seconds = 0] = (await denied.first().innerText()).split(/\s/)[0]?.split(':').map(Number) ?? [];
    const now = await page.evaluate(() => {
      const date = new Date();
      return ((date.getHours() * 60 + date.getMinutes()) * 60 + date.getSeconds()) * 1000 + date.getMilliseconds();
    });
    lag.push(now - ((hours * 60 + minutes) * 60 + seconds) * 1000);
  }
  console.log(`denied flows were listed ${lag.map((ms) => Math.round(ms)).join(', ')} ms after they were seen`);
  await expect(page.locator('.line.bad').first()).toBeAttached();
  await page.getByRole('button', { name: 'Denied', exact: true }).click();
  await expect(card(page, 'friend')).toHaveCount(0);
  await shot(page, 'lab-denied');

  await page.keyboard.press('p');
  await denied.first().click();
  const details = page.getByLabel('Details of the flow');
  await expect(details.getByTestId('policies')).toContainText(`CiliumNetworkPolicy ${namespace}/only-friends`);
  await shot(page, 'lab-details');
  await details.getByRole('button', { name: 'Make a policy from this flow' }).click();
  const yaml = page.getByRole('textbox', { name: 'YAML' });
  await expect(yaml).toHaveValue(/app: stranger/);
  await expect(page.getByTestId('changes')).toContainText('server from', { timeout: 30_000 });
  await expect(page.locator('[data-peer$="/stranger"]')).toContainText('80/TCP');
  await shot(page, 'lab-policy');

  kube(['apply', '-f', '-'], await yaml.inputValue());
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Flows', exact: true }).click();
  await page.getByLabel('Filter', { exact: true }).fill(`ns:${namespace} from:stranger verdict:forwarded port:80`);
  // It was held above, and a held table shows of a new question only what is there already.
  await page.getByRole('button', { name: 'Go on' }).click();
  const passed = flows(page).filter({ hasText: 'stranger' });
  const seconds = Date.now();
  await expect
    .poll(async () => {
      const text = (await passed.first().innerText({ timeout: 1000 }).catch(() => '')).split(/\s/)[0] ?? '';
      return text > new Date(seconds).toTimeString().slice(0, 8);
    }, { timeout: 40_000 })
    .toBe(true);
  await shot(page, 'lab-allowed');
  expect(Math.min(...lag)).toBeLessThan(1000);
});
