// The golden sequences as the module of clients/js plays them: node play.mjs MODULE EVENTS, JSON on stdout.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { User, vector } = await import(pathToFileURL(process.argv[2]));
const played = JSON.parse(readFileSync(process.argv[3], "utf8")).map(({ start, rule, events }) => {
  let user = new User(start, rule);
  const scores = [], probabilities = [];
  for (const event of events) {
    const v = vector(event.vector);
    scores.push(user.score(v));
    probabilities.push(user.probability(v, event.margin));
    user.learn(v, event.label, event.margin);
    if (event.written) user = new User(String(user), rule);
  }
  return { scores, probabilities, weights: [...user.weights], end: String(user) };
});
console.log(JSON.stringify(played));
