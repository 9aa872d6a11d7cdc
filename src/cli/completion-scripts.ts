import type { Command } from "commander";
import { commandShapes, type CommandShape } from "./command-shape.ts";

export type Shell = "bash" | "zsh" | "fish";

/** A shell's completion of a program, made of its commands. Only ids of DAGs are asked for when Tab is pressed. */
export function completionScript(program: Command, shell: Shell): string {
  return scripts[shell](program.name(), commandShapes(program));
}

const scripts: Record<Shell, (name: string, shapes: readonly CommandShape[]) => string> = {
  bash: (name, shapes) => `# bash completion of ${name}; made by \`${name} completion bash\`
_${name}() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}"
  local place="${name}" count=0 skip="" word words="" i
  [[ $cur == "=" ]] && cur=""
  [[ $prev == "=" ]] && prev="\${COMP_WORDS[COMP_CWORD-2]}"
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
${walk(shapes)}
  done
${words(name, shapes)}
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _${name} ${name}
`,
  zsh: (name, shapes) => `#compdef ${name}
# zsh completion of ${name}; made by \`${name} completion zsh\`
_${name}() {
  local cur="\${words[CURRENT]}" prev="\${words[CURRENT-1]}"
  local place="${name}" count=0 skip="" word found="" i
  for ((i = 2; i < CURRENT; i++)); do
    word="\${words[i]}"
${walk(shapes)}
  done
${words(name, shapes)
  .replace(/\bwords=/g, "found=")
  .replace(/\$words\b/g, "$found")}
  if [[ -n $found ]]; then compadd -- \${=found}; else _files; fi
}
if [[ "$funcstack[1]" == "_${name}" ]]; then _${name} "$@"; else compdef _${name} ${name}; fi
`,
  fish: (name, shapes) => {
    const lines = shapes.flatMap((shape) => fishLines(name, shape));
    return `# fish completion of ${name}; made by \`${name} completion fish\`
function __${name}_place
    set -l place ${name}
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- "$place $word" ${quoted(valueOptions(shapes))}
            set skip 1
        else if contains -- "$place $word" ${quoted(shapes.slice(1).map(({ path }) => path))}
            set place "$place $word"
        end
    end
    echo $place
end
function __${name}_at
    test (__${name}_place) = "$argv[1]"
end
complete -c ${name} -f
${lines.join("\n")}
`;
  },
};

/** Finds which command the words before the cursor name, and how many arguments it has. Both shells understand it. */
function walk(shapes: readonly CommandShape[]): string {
  return `    if [[ -n $skip ]]; then skip=""; continue; fi
    case "$word" in
      =) continue ;;
      -*) case "$place $word" in ${pattern(valueOptions(shapes))}) skip=1 ;; esac ;;
      *) case "$place $word" in
        ${pattern(shapes.slice(1).map(({ path }) => path))}) place="$place $word" ;;
        *) count=$((count + 1)) ;;
      esac ;;
    esac`;
}

/** Sets `words` to what may stand at the cursor. */
function words(name: string, shapes: readonly CommandShape[]): string {
  const dags = `words="$(command ${name} completion dags "$cur" 2>/dev/null)"`;
  const cases = (variable: string, entries: readonly (readonly [string, string])[]) =>
    `  case "${variable}" in\n${entries.map(([key, action]) => `    "${key}") ${action} ;;\n`).join("")}  esac`;
  const values = shapes.flatMap(({ path, options }) =>
    options
      .filter(({ choices, names }) => choices.length > 0 || names.includes("--dag"))
      .flatMap(({ names, choices }) =>
        names.map((each) => [`${path} ${each}`, choices.length > 0 ? `words="${choices.join(" ")}"` : dags] as const),
      ),
  );
  const positions = shapes.flatMap(({ path, arguments: all }) =>
    all
      .map((argument, at) => ({ ...argument, key: `${path} ${at}` }))
      .filter(({ choices, name: argument }) => choices.length > 0 || argument === "dag")
      .map(({ key, choices }) => [key, choices.length > 0 ? `words="${choices.join(" ")}"` : dags] as const),
  );
  const flags = shapes.map(
    ({ path, options }) => [path, `words="${options.flatMap(({ names }) => names).join(" ")}"`] as const,
  );
  const commands = shapes
    .filter(({ subcommands }) => subcommands.length > 0)
    .map(({ path, subcommands }) => [path, `words="${subcommands.join(" ")}"`] as const);
  return `  case "$place $prev" in
    ${pattern(valueOptions(shapes))})
${indent(cases("$place $prev", values))} ;;
    *)
      if [[ $cur == -* ]]; then
${indent(indent(cases("$place", flags)))}
      elif ((count == 0)) && [[ -z $words ]]; then
${indent(indent(cases("$place", commands)))}
      fi
      if [[ $cur != -* && -z $words ]]; then
${indent(indent(cases("$place $count", positions)))}
      fi ;;
  esac`;
}

const indent = (text: string) => text.replace(/^(?=.)/gm, "  ");
const pattern = (texts: readonly string[]) => texts.map((text) => `"${text}"`).join("|");
const quoted = (texts: readonly string[]) => texts.map((text) => `'${text}'`).join(" ");

function valueOptions(shapes: readonly CommandShape[]): string[] {
  return shapes.flatMap(({ path, options }) =>
    options.filter(({ takesValue }) => takesValue).flatMap(({ names }) => names.map((name) => `${path} ${name}`)),
  );
}

function fishLines(name: string, shape: CommandShape): string[] {
  const at = `complete -c ${name} -n "__${name}_at '${shape.path}'"`;
  const told = (text: string) => `-d '${text.replace(/[\\']/g, "\\$&")}'`;
  const dags = `-a '(command ${name} completion dags (commandline -ct) 2>/dev/null)'`;
  const options = shape.options.map(({ names, takesValue, choices, description }) => {
    const flags = names
      .map((each) => (each.startsWith("--") ? `-l ${each.slice(2)}` : `-s ${each.slice(1)}`))
      .join(" ");
    const asked = names.includes("--dag") ? ` ${dags}` : choices.length > 0 ? ` -a '${choices.join(" ")}'` : "";
    const value = takesValue ? ` ${asked === "" ? "-r -F" : `-x${asked}`}` : "";
    return `${at} ${flags}${value} ${told(description)}`;
  });
  const choices = shape.arguments.flatMap((argument) => argument.choices);
  return [
    ...(shape.subcommands.length > 0 ? [`${at} -a '${shape.subcommands.join(" ")}'`] : []),
    ...(shape.arguments.some((argument) => argument.name === "dag") ? [`${at} ${dags}`] : []),
    ...(choices.length > 0 ? [`${at} -a '${choices.join(" ")}'`] : []),
    ...options,
  ];
}
