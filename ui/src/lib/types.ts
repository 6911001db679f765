// What the server says; see bin/ui/src/{stream,view,policy}.

export type Grouping = 'workload' | 'namespace' | 'identity';

export interface Node {
  id: string;
  kind: string;
  namespace: string;
  name: string;
  note: string;
}

export interface Port {
  forwarded: number;
  dropped: number;
  audit: number;
  redirected: number;
  rate: number;
  dropped_rate: number;
}

export interface Edge {
  from: string;
  to: string;
  ports: Record<string, Port>;
  policies: string[];
}

export interface MapNews {
  nodes: Node[];
  edges: Edge[];
  gone: { nodes: string[]; edges: [string, string][] };
}

export interface RowEnd {
  node: string;
  name: string;
  namespace?: string;
  identity: number;
  address: string;
}

export interface Row {
  id: number;
  time: number;
  verdict: string;
  direction: string;
  source: RowEnd;
  destination: RowEnd;
  port: string;
  event: string;
  summary: string;
  reply?: boolean;
  node: string;
  policies?: string[];
}

export interface Health {
  connected: boolean;
  trouble: string | null;
  nodes: number;
  missing: string[];
  lost: number;
}

/** Counts of the last second. */
export interface State {
  health: Health;
  flows: number;
  fitting: number;
  dropped: number;
  unlisted: number;
  missed: number;
  unplaced: number;
}

export interface Finding {
  position: { line: number; column: number };
  severity: 'error' | 'warning';
  object: string;
  field: string;
  text: string;
}

export interface Way {
  direction: 'ingress' | 'egress';
  verdict: string;
  ports: string[];
  peers: string[];
  because: string[];
}

export interface Workload {
  namespace: string;
  name: string;
  kind: string;
}

export interface Reach {
  workload: Workload;
  pods: number;
  labels: string[];
  ways: Way[];
}

export interface Change extends Way {
  before: string;
  after: string;
}

export interface FlowChange {
  workload: Workload;
  direction: 'ingress' | 'egress';
  before: string;
  after: string;
  peer: string;
  port: string;
  because: string[];
  flows: number;
}

export interface Tried {
  findings: Finding[];
  refused: boolean;
  reach?: Reach[];
  diff?: { workloads: { workload: Workload; pods: number; changes: Change[] }[]; unchanged: number };
  replay?: {
    flows: number;
    connections: number;
    skipped: Record<string, number>;
    outdated: number;
    changes: FlowChange[];
  };
  replay_error?: string;
}

export interface Known {
  kind: string;
  namespace: string;
  name: string;
  yaml: string;
}

export interface Proposed {
  yaml: string;
  namespace: string;
  side: 'ingress' | 'egress';
  sides: ('ingress' | 'egress')[];
  says: string;
}
