// A user's state on the client: scored and stepped at once, without the server. One ES module without dependencies.
// The formulas are those of docs/users.md, in double precision; the server comes to the same.

const REGRESSION = 1, MEAN = 2, HEAD = 4, MOST = 65504; // largest float of 16 bits
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const view = (array) => new DataView(array.buffer, array.byteOffset, array.byteLength);

function fromHalf(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023, sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) throw new Error("a state that is not finite");
  return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
}

function toHalf(x) { // to the nearest, ties to even
  const size = Math.min(Math.abs(x), MOST), double = new DataView(new ArrayBuffer(8));
  double.setFloat64(0, size);
  const exponent = Math.max(((double.getUint16(0) >> 4) & 2047) - 1023, -14);
  const rounded = size * 2 ** (10 - exponent) + 2 ** 52 - 2 ** 52;
  return (x < 0 || Object.is(x, -0) ? 0x8000 : 0) + (((exponent + 15) << 10) + (rounded - 1024));
}

export const sigmoid = (margin) => {
  const e = Math.exp(-Math.abs(margin));
  return margin >= 0 ? 1 / (1 + e) : e / (1 + e);
};

export function vector(text) { // whole numbers of 8 bits, then their scale
  const data = view(bytes(text)), n = data.byteLength - 4, scale = data.getFloat32(n, true);
  return Float64Array.from({ length: n }, (_, k) => data.getInt8(k) * scale);
}

export class User {
  constructor(state, { alpha = 0.5, l2 = 0, weight = 1 } = {}) {
    const data = bytes(state), halves = view(data), n = (data.length - HEAD) >> 1;
    if (n < 1 || (data[0] !== REGRESSION && data[0] !== MEAN)) {
      throw new Error("a state of another kind; one that is signed learns on the server");
    }
    const numbers = Float64Array.from({ length: n }, (_, i) => fromHalf(halves.getUint16(HEAD + 2 * i, true)));
    const size = data[0] === MEAN ? n : n >> 1;
    Object.assign(this, { alpha, l2, weight, head: data.slice(0, HEAD), isMean: data[0] === MEAN });
    Object.assign(this, { weights: numbers.slice(0, size), squares: numbers.slice(size) });
  }

  score(vector) {
    if (vector.length !== this.weights.length) throw new Error("a vector of another size");
    return this.weights.reduce((total, w, k) => total + w * vector[k], 0);
  }

  probability(vector, margin) {
    return sigmoid(margin + this.weight * this.score(vector));
  }

  learn(vector, label, margin) { // nothing that would leave a state without numbers, and so without its user
    if ((label !== 0 && label !== 1 && typeof label !== "boolean") || !Number.isFinite(margin)) {
      throw new Error(`a label is 0 or 1 and a margin a finite number, not ${label} and ${margin}`);
    }
    if (!vector.some(Boolean)) return; // an item without a vector says nothing
    const residual = sigmoid(margin + this.score(vector)) - label;
    this.weights.forEach((w, k) => {
      if (this.isMean) return void (this.weights[k] += label * this.alpha * (vector[k] - w));
      const g = residual * vector[k] + this.l2 * w;
      this.squares[k] += g * g;
      this.weights[k] -= (this.alpha / (1 + Math.sqrt(this.squares[k]))) * g;
    });
  }

  toString() {
    const data = new Uint8Array(HEAD + 2 * (this.weights.length + this.squares.length)), halves = view(data);
    data.set(this.head);
    [...this.weights, ...this.squares].forEach((x, i) => halves.setUint16(HEAD + 2 * i, toHalf(x), true));
    return btoa(String.fromCharCode(...data));
  }
}
