// Numbers and names as people read them.

/** Characters that change how text around them is shown, or show nothing: made visible. */
const SLY = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** A name from outside: one line, no hidden characters, no longer than a screen can bear. */
export function name(text: string, most = 120): string {
  const shown = text.replace(SLY, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return shown.length > most ? `${shown.slice(0, most)}…` : shown;
}

export function rate(number: number): string {
  if (number <= 0) return '';
  if (number < 10) return `${number.toFixed(1)}/s`;
  if (number < 1000) return `${Math.round(number)}/s`;
  return `${(number / 1000).toFixed(1)}k/s`;
}

export function count(number: number): string {
  if (number < 10_000) return String(number);
  if (number < 1_000_000) return `${(number / 1000).toFixed(1)}k`;
  return `${(number / 1_000_000).toFixed(1)}M`;
}

export function many(number: number, what: string): string {
  return `${count(number)} ${what}${number === 1 ? '' : 's'}`;
}

export function clock(time: number): string {
  const date = new Date(time);
  const two = (n: number) => String(n).padStart(2, '0');
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** The class of a verdict, for its colour. */
export function tone(verdict: string): string {
  switch (verdict.toUpperCase()) {
    case 'DROPPED':
    case 'ERROR':
    case 'DENIED':
      return 'bad';
    case 'AUDIT':
      return 'audit';
    case 'REDIRECTED':
    case 'TRANSLATED':
      return 'proxy';
    default:
      return 'good';
  }
}

export function verdict(text: string): string {
  switch (text) {
    case 'DROPPED':
      return 'denied';
    case 'VERDICT_UNKNOWN':
      return 'unknown';
    default:
      return text.toLowerCase();
  }
}

/** One of twelve hues, the same for the same text. */
export function hue(text: string): number {
  let hash = 7;
  for (let i = 0; i < text.length; i++) hash = (hash * 31 + text.charCodeAt(i)) >>> 0;
  return (hash % 12) * 30;
}
