import { defineConfig } from '@playwright/test';

// Debian's Chromium, or another one; nothing is downloaded.
const executablePath = process.env.AXONEME_CHROMIUM ?? '/usr/bin/chromium';

export default defineConfig({
  testDir: 'tests',
  testMatch: process.env.AXONEME_UI_URL ? 'lab.spec.ts' : 'fake.spec.ts',
  outputDir: '../target/ui-test/output',
  reporter: [['list'], ['./tests/counts.ts']],
  // Everything runs beside other tests, at the lowest priority: what waits, waits long; what is measured says so in its test.
  timeout: 180_000,
  expect: { timeout: 40_000 },
  workers: 1,
  use: {
    viewport: { width: 1440, height: 900 },
    launchOptions: { executablePath, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] },
  },
});
