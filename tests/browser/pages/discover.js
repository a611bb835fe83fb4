// The newest @moq/net by itself: waits for an announcement and reads the catalog of what was announced.
import * as Moq from '@moq/net';

const options = new URL(location.href).searchParams;
const found = { draft: undefined, announced: false, catalog: undefined, ended: false };
globalThis.look = () => found;

const connection = await Moq.Connection.connect(new URL(options.get('relay')), {
  websocket: { enabled: options.get('transport') === 'websocket' },
});
found.draft = connection.version;

const announcements = connection.announced();
for (;;) {
  const announcement = await announcements.next();
  if (!announcement) break;
  if (announcement.path !== options.get('name')) continue;
  if (announcement.active) {
    found.announced = true;
    readCatalog(connection.consume(announcement.path).track('catalog.json').subscribe({ priority: 100 }));
  } else {
    found.ended = found.announced;
  }
}

// The publisher writes it anew whenever a track comes, so the first need not be whole.
async function readCatalog(track) {
  for (;;) {
    const json = await track.readJson();
    if (json === undefined) break;
    found.catalog = { ...found.catalog, ...json };
  }
}
