/**
 * Who gets which colour. A reader's colour is honoured when it is plainly a colour; a memory
 * component keeps its one colour of the site; every other line takes the next of the palette.
 */

const PALETTE_SIZE = 6;
const HEX = /^#(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})$/i;
const NUMBER = String.raw`[+-]?(?:\d+\.?\d*|\.\d+)(?:%|deg)?`;
const FUNCTION = new RegExp(
  String.raw`^(?:rgb|rgba|hsl|hsla|oklch|lab|lch|oklab)\(\s*${NUMBER}(?:\s*[,/]\s*${NUMBER}|\s+${NUMBER}){2,3}\s*\)$`,
  "i",
);
const NAMED = new Set(
  `aliceblue antiquewhite aqua aquamarine azure beige bisque black blanchedalmond blue blueviolet
  brown burlywood cadetblue chartreuse chocolate coral cornflowerblue cornsilk crimson cyan darkblue
  darkcyan darkgoldenrod darkgray darkgreen darkgrey darkkhaki darkmagenta darkolivegreen darkorange
  darkorchid darkred darksalmon darkseagreen darkslateblue darkslategray darkslategrey darkturquoise
  darkviolet deeppink deepskyblue dimgray dimgrey dodgerblue firebrick floralwhite forestgreen
  fuchsia gainsboro ghostwhite gold goldenrod gray green greenyellow grey honeydew hotpink indianred
  indigo ivory khaki lavender lavenderblush lawngreen lemonchiffon lightblue lightcoral lightcyan
  lightgoldenrodyellow lightgray lightgreen lightgrey lightpink lightsalmon lightseagreen
  lightskyblue lightslategray lightslategrey lightsteelblue lightyellow lime limegreen linen magenta
  maroon mediumaquamarine mediumblue mediumorchid mediumpurple mediumseagreen mediumslateblue
  mediumspringgreen mediumturquoise mediumvioletred midnightblue mintcream mistyrose moccasin
  navajowhite navy oldlace olive olivedrab orange orangered orchid palegoldenrod palegreen
  paleturquoise palevioletred papayawhip peachpuff peru pink plum powderblue purple rebeccapurple
  red rosybrown royalblue saddlebrown salmon sandybrown seagreen seashell sienna silver skyblue
  slateblue slategray slategrey snow springgreen steelblue tan teal thistle tomato turquoise violet
  wheat white whitesmoke yellow yellowgreen`.split(/\s+/),
);

/** Labels of memory components, in the order they are tried. */
const COMPONENTS = [
  ["master", /^(?:fp32 )?master\b/i],
  ["weights", /^(?:model )?(?:weights|param(?:eter)?s)\b/i],
  ["gradients", /^grad(?:ient)?s?\b/i],
  ["moments", /^(?:optimi[sz]er|(?:adam )?moments?)\b/i],
  ["activations", /^activations?\b/i],
  ["logits", /^logits?\b/i],
  ["workspace", /^workspace\b/i],
  ["gathered", /^gathered\b/i],
  ["context", /^(?:(?:cuda|device) )?context\b|^other\b/i],
  ["adapters", /^(?:lora )?adapters?\b/i],
  ["quant", /^quant/i],
];

/**
 * A colour that may be written into the picture, or null when the value is not plainly one.
 * @param {unknown} value what a cell gave as "color"
 * @returns {string | null}
 */
export function safeColor(value) {
  if (typeof value !== "string" || value.length > 64) return null;
  const text = value.trim();
  const isColor = HEX.test(text) || FUNCTION.test(text) || NAMED.has(text.toLowerCase());
  return isColor ? text : null;
}

function component(label) {
  return COMPONENTS.find(([, pattern]) => pattern.test(label))?.[0] ?? null;
}

/**
 * The paint of every line: attributes for the group its marks stand in.
 * @param {{label: string, color?: unknown}[]} lines
 * @returns {{class: string, color: string | null}[]} marks use `currentColor`
 */
export function paints(lines) {
  const taken = new Set();
  let next = 0;
  return lines.map(({ label, color }) => {
    const own = safeColor(color);
    if (own) return { class: "series series-own", color: own };
    const name = component(label);
    if (name && !taken.has(name)) {
      taken.add(name);
      return { class: `series memory-${name}`, color: null };
    }
    return { class: `series series-${(next++ % PALETTE_SIZE) + 1}`, color: null };
  });
}
