// All cases, in the order in which they run.
import { ENDINGS } from './endings.mjs';
import { OFFERS } from './offers.mjs';
import { REGISTERING } from './registering.mjs';
import { ROUTES } from './routes.mjs';
import { SESSIONS } from './sessions.mjs';
import { STREAMS } from './streams.mjs';
import { TELEPHONES } from './telephones.mjs';
import { TRANSFERS } from './transfers.mjs';
import { TRUNKS } from './trunks.mjs';
import { VOICEMAIL } from './voicemail.mjs';

export const CASES = [...REGISTERING, ...ROUTES, ...OFFERS, ...ENDINGS, ...SESSIONS, ...STREAMS, ...TRANSFERS, ...TRUNKS, ...TELEPHONES, ...VOICEMAIL];
