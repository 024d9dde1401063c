/** Numbers of a packed vector, as an answer of `gbdtlr serve` has it. */
export function vector(text: string): Float64Array;

/** Probability of log-odds. */
export function sigmoid(margin: number): number;

/** How the weights move, and what their score weighs: `rule` of the answer. */
export interface Rule {
  alpha?: number;
  l2?: number;
  weight?: number;
}

/** A user's state: `new User(answer.user, answer.rule)`; `String(user)` goes with the next request. */
export class User {
  constructor(state: string, rule?: Rule);
  /** The user's vector. */
  readonly weights: Float64Array;
  /** Log-odds that the user adds to an item. */
  score(vector: Float64Array): number;
  /** Probability of an item whose log-odds without the user's score are `margin`. */
  probability(vector: Float64Array, margin: number): number;
  /** Take in one event: what was shown, whether it was clicked, its log-odds without the user's score. */
  learn(vector: Float64Array, label: 0 | 1, margin: number): void;
  /** The state in base64. */
  toString(): string;
}
