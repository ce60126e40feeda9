// Runs pure widget code in Node. Reads a JSON list of {module, name, args, asHtml} on stdin, where
// `module` is a file stem of web/widgets, and prints the JSON list of results or {error}.
import { toHtml } from "../../web/widgets/vnode.js";

async function answer({ module, name, args, asHtml }) {
  try {
    const exported = await import(`../../web/widgets/${module}.js`);
    const result = exported[name](...args);
    return { result: asHtml ? toHtml(result) : result };
  } catch (error) {
    return { error: `${error.name}: ${error.message}` };
  }
}

let input = "";
for await (const chunk of process.stdin) input += chunk;
const answers = await Promise.all(JSON.parse(input).map(answer));
process.stdout.write(JSON.stringify(answers));
