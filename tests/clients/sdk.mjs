// The TypeScript SDK, version 1: what most agents in the field are built on. It knows the handshake era only.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ask } from './ask.mjs';

await ask(async ({ url, headers }) => {
    const client = new Client({ name: 'test-sdk', version: '1' });
    const transport = new StreamableHTTPClientTransport(url, { requestInit: { headers } });
    await client.connect(transport);
    return { client, protocolVersion: transport.protocolVersion };
});
