// What the page knows of flows: kept small, and shown at a pace that people can follow.

import { events } from './api';
import type { Edge, Grouping, MapNews, Node, Row, State } from './types';

/** Rows that are kept. */
const ROWS = 2000;
/** ms before a broken stream is tried again. */
const PAUSE = 1500;

export class Live {
  filter = $state('');
  grouping = $state<Grouping>('workload');
  paused = $state(false);

  rows = $state.raw<Row[]>([]);
  /** Rows that came while the table was held. */
  held = $state(0);
  nodes = $state.raw<ReadonlyMap<string, Node>>(new Map());
  edges = $state.raw<ReadonlyMap<string, Edge>>(new Map());
  /** Grows when nodes or edges come or go. */
  shape = $state(0);
  state = $state.raw<State | null>(null);
  problem = $state('');
  refused = $state('');
  namespaces = $state.raw<string[]>([]);

  private waiting: Row[] = [];
  /** The next rows answer a new question: they are listed even while the table is held. */
  private fresh = false;

  /** Looks, until the caller aborts: what is looked at is that of now. */
  async look(signal: AbortSignal): Promise<void> {
    const query = new URLSearchParams({ filter: this.filter, by: this.grouping });
    while (!signal.aborted) {
      try {
        for await (const [name, what] of events(`stream?${query}`, signal)) this.take(name, what);
        this.problem = 'The server ended the stream.';
      } catch (error) {
        if (signal.aborted) return;
        const text = error instanceof Error ? error.message : String(error);
        if (error instanceof TypeError) this.problem = 'The server does not answer.';
        else {
          this.refused = text;
          return;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }

  toggle(): void {
    this.paused = !this.paused;
    if (!this.paused) {
      this.list(this.waiting);
      this.waiting = [];
      this.held = 0;
    }
  }

  private take(name: string, what: unknown): void {
    if (name === 'hello') {
      this.problem = this.refused = '';
      this.nodes = new Map();
      this.edges = new Map();
      this.rows = this.waiting = [];
      this.held = 0;
      this.fresh = true;
      this.shape += 1;
    } else if (name === 'map') this.draw(what as MapNews);
    else if (name === 'state') this.state = what as State;
    else if (name === 'rows') {
      const rows = (what as Row[]).reverse();
      if (!this.paused || this.fresh) {
        this.list(rows);
        this.fresh = false;
      } else {
        this.waiting = rows.concat(this.waiting).slice(0, ROWS);
        this.held = this.waiting.length;
      }
    }
  }

  private list(rows: Row[]): void {
    if (rows.length > 0) this.rows = rows.concat(this.rows).slice(0, ROWS);
  }

  private draw(news: MapNews): void {
    const nodes = new Map(this.nodes);
    const edges = new Map(this.edges);
    for (const node of news.nodes) nodes.set(node.id, node);
    for (const edge of news.edges) edges.set(key(edge.from, edge.to), edge);
    for (const [from, to] of news.gone.edges) edges.delete(key(from, to));
    for (const id of news.gone.nodes) nodes.delete(id);
    const same = nodes.size === this.nodes.size && edges.size === this.edges.size && ports(edges) === ports(this.edges);
    this.nodes = nodes;
    this.edges = edges;
    if (!same) {
      this.shape += 1;
      const names = new Set([...this.namespaces]);
      for (const node of nodes.values()) {
        const name = node.kind === 'Namespace' ? node.name : node.namespace;
        if (name && names.size < 500) names.add(name);
      }
      this.namespaces = [...names].sort();
    }
  }
}

export function key(from: string, to: string): string {
  return `${from}\n${to}`;
}

function ports(edges: ReadonlyMap<string, Edge>): number {
  let count = 0;
  for (const edge of edges.values()) count += Object.keys(edge.ports).length;
  return count;
}
