// All cases, in the order in which they run.
import { ENDINGS } from './endings.mjs';

export const CASES = [...ENDINGS];
