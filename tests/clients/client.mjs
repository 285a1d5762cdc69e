// The TypeScript client, version 2. It opens the handshake era unless ERA=auto asks it to look for the modern one.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { ask } from './ask.mjs';

await ask(async ({ url, headers }) => {
    const client = new Client(
        { name: 'test-client', version: '1' },
        { versionNegotiation: { mode: process.env.ERA ?? 'legacy' } },
    );
    await client.connect(new StreamableHTTPClientTransport(url, { requestInit: { headers } }));
    return { client, protocolVersion: client.getNegotiatedProtocolVersion() };
});
