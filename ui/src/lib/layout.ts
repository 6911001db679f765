// Where the map's cards stand: clients left of servers, in columns; the same graph always looks the same.

import type { Edge, Node } from './types';
import { key } from './live.svelte';

export const WIDTH = 196;
const HEAD = 44;
export const LINE = 18;
const GAP_X = 92;
const GAP_Y = 18;
/** Ports that a card shows; the rest is one line. */
export const PORTS = 5;

export interface Card {
  node: Node;
  x: number;
  y: number;
  height: number;
  /** Ports that it serves, busiest first when it was placed. */
  ports: string[];
}

export interface Layout {
  cards: Map<string, Card>;
  width: number;
  height: number;
}

export function layout(nodes: ReadonlyMap<string, Node>, edges: ReadonlyMap<string, Edge>): Layout {
  const ids = [...nodes.keys()].sort();
  const out = new Map<string, string[]>(ids.map((id) => [id, []]));
  const into = new Map<string, string[]>(ids.map((id) => [id, []]));
  const ports = new Map<string, Map<string, number>>();
  for (const edge of [...edges.values()].sort((a, b) => (key(a.from, a.to) < key(b.from, b.to) ? -1 : 1))) {
    if (!nodes.has(edge.from) || !nodes.has(edge.to)) continue;
    if (edge.from !== edge.to) {
      out.get(edge.from)?.push(edge.to);
      into.get(edge.to)?.push(edge.from);
    }
    const of = ports.get(edge.to) ?? new Map<string, number>();
    for (const [port, seen] of Object.entries(edge.ports))
      of.set(port, (of.get(port) ?? 0) + seen.forwarded + seen.dropped + seen.audit + seen.redirected);
    ports.set(edge.to, of);
  }
  const columns = arrange(split(ranks(ids, out, into)), out, into);
  const cards = new Map<string, Card>();
  const heights = columns.map((column) =>
    column.reduce((sum, id) => sum + height(ports.get(id)?.size ?? 0) + GAP_Y, -GAP_Y),
  );
  const tallest = Math.max(0, ...heights);
  columns.forEach((column, index) => {
    let y = (tallest - (heights[index] ?? 0)) / 2;
    for (const id of column) {
      const node = nodes.get(id);
      if (!node) continue;
      const served = [...(ports.get(id) ?? [])].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
      const card = { node, x: index * (WIDTH + GAP_X), y, height: height(served.length), ports: served.map((p) => p[0]) };
      cards.set(id, card);
      y += card.height + GAP_Y;
    }
  });
  return { cards, width: Math.max(WIDTH, columns.length * (WIDTH + GAP_X) - GAP_X), height: Math.max(HEAD, tallest) };
}

function height(ports: number): number {
  return HEAD + (ports === 0 ? 0 : Math.min(ports, PORTS + 1) * LINE + 7);
}

/** Where the line of a port is, from the top of its card. */
export function portY(card: Card, port: string): number {
  const index = card.ports.indexOf(port);
  if (index < 0) return HEAD / 2;
  return HEAD + Math.min(index, PORTS) * LINE + LINE / 2;
}

/** Columns by the longest way from somebody whom nobody calls; ways that lead back do not count. */
function ranks(ids: string[], out: Map<string, string[]>, into: Map<string, string[]>): string[][] {
  const rank = new Map<string, number>();
  const state = new Map<string, 'open' | 'done'>();
  const order: string[] = [];
  const back = new Set<string>();
  const starts = [...ids].sort((a, b) => (into.get(a)?.length ?? 0) - (into.get(b)?.length ?? 0) || (a < b ? -1 : 1));
  for (const start of starts) {
    if (state.has(start)) continue;
    // A stack of its own: a chain may be long.
    const stack: [string, number][] = [[start, 0]];
    state.set(start, 'open');
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      if (!top) break;
      const next = out.get(top[0])?.[top[1]++];
      if (next === undefined) {
        state.set(top[0], 'done');
        order.push(top[0]);
        stack.pop();
      } else if (state.get(next) === 'open') back.add(key(top[0], next));
      else if (!state.has(next)) {
        state.set(next, 'open');
        stack.push([next, 0]);
      }
    }
  }
  for (const id of order.reverse()) {
    const callers = (into.get(id) ?? []).filter((from) => !back.has(key(from, id)));
    rank.set(id, Math.max(0, ...callers.map((from) => (rank.get(from) ?? 0) + 1)));
  }
  // Who calls somebody far right and is called by nobody stands just before him.
  for (const id of ids) {
    if ((into.get(id)?.length ?? 0) > 0) continue;
    const called = (out.get(id) ?? []).map((to) => rank.get(to) ?? 0);
    if (called.length > 0) rank.set(id, Math.max(0, Math.min(...called) - 1));
  }
  const columns: string[][] = [];
  for (const id of ids) (columns[rank.get(id) ?? 0] ??= []).push(id);
  return columns.filter((column) => column && column.length > 0);
}

/** Columns that are too tall become several. */
function split(columns: string[][]): string[][] {
  const all = columns.reduce((sum, column) => sum + column.length, 0);
  const most = Math.max(7, Math.ceil(Math.sqrt(all) * 1.2));
  return columns.flatMap((column) => {
    const parts = Math.ceil(column.length / most);
    const size = Math.ceil(column.length / parts);
    return Array.from({ length: parts }, (_, n) => column.slice(n * size, (n + 1) * size));
  });
}

/** Within columns, everybody near those he speaks with. */
function arrange(columns: string[][], out: Map<string, string[]>, into: Map<string, string[]>): string[][] {
  const place = new Map<string, number>();
  const note = (column: string[]) => column.forEach((id, n) => place.set(id, (n + 0.5) / column.length));
  columns.forEach(note);
  for (let round = 0; round < 8; round++) {
    const forth = round % 2 === 0;
    const order = forth ? columns.keys() : [...columns.keys()].reverse();
    for (const index of order) {
      const column = columns[index];
      if (!column) continue;
      const want = new Map(
        column.map((id) => {
          const near = (forth ? into : out).get(id) ?? [];
          const near2 = near.length > 0 ? near : ((forth ? out : into).get(id) ?? []);
          const sum = near2.reduce((total, other) => total + (place.get(other) ?? 0.5), 0);
          return [id, near2.length > 0 ? sum / near2.length : 0.5] as const;
        }),
      );
      column.sort((a, b) => (want.get(a) ?? 0) - (want.get(b) ?? 0) || (a < b ? -1 : 1));
      note(column);
    }
  }
  return columns;
}
