/** The root of the site: the page may lie in a folder of it, scripts and workers lie one folder deep. */
export const SITE = new URL("../", import.meta.url);

/** A header of every answer of a runner's server. */
export const MARK = "Unfrozen-Runner";
