/** How many pixels of this screen make a millimetre: measured once by the operator, kept on this machine. */

const KEY = "lsemvae-edge/px-per-mm/1";
/** What CSS assumes of a screen it knows nothing about. */
const ASSUMED = 96 / 25.4;
const LEAST = 1.5;
const MOST = 20;

/** Things that everybody has, and their lengths in millimetres. */
export const LENGTHS = { card: 85.6, ruler: 100 };

/**
 * @returns {{px_per_mm: number, measured: boolean}} CSS pixels per millimetre; not measured on this screen, or at
 *   another zoom: assumed.
 */
export function scale() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    if (kept && kept.screen === screenName() && kept.px_per_mm >= LEAST && kept.px_per_mm <= MOST) {
      return { px_per_mm: kept.px_per_mm, measured: true };
    }
  } catch {
    // Damaged or forbidden storage is a screen that was not measured.
  }
  return { px_per_mm: ASSUMED, measured: false };
}

/** Keep what was measured. */
export function keep(px_per_mm) {
  const value = Math.min(MOST, Math.max(LEAST, px_per_mm));
  try {
    localStorage.setItem(KEY, JSON.stringify({ px_per_mm: value, screen: screenName() }));
  } catch {
    // Without storage the screen stays "not to scale", which is shown.
  }
}

function screenName() {
  return `${screen.width}x${screen.height}@${devicePixelRatio}`;
}
