// What a terminal shows after some pieces of text: a JSON list of such lists in, the texts out.
import { TerminalText } from "../../../web/cells/stream.js";

function shown(pieces) {
  const terminal = new TerminalText();
  let all = "";
  for (const piece of pieces) {
    const { back, text } = terminal.read(piece);
    all = all.slice(0, all.length - back) + text;
  }
  return all;
}

process.stdout.write(JSON.stringify(JSON.parse(process.argv[2]).map(shown)));
