import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// Paths are relative, so that the page works below any path; nothing is inlined, as its Content-Security-Policy wants it.
export default defineConfig({
  base: './',
  plugins: [svelte()],
  build: {
    outDir: '../target/ui',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: false,
    target: 'es2022',
  },
});
