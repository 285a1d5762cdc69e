// A client of the TypeScript SDK (`sdk`: version 1, `client`: version 2) that has no token: it prints the address its
// user is to open, waits for the answer, asks, renews its tokens, asks again, and prints what happened.
import { createServer } from 'node:http';

const [where, version] = process.argv.slice(2);
const { Client, StreamableHTTPClientTransport } = version === 'client' ? await import('@modelcontextprotocol/client') : {
    ...(await import('@modelcontextprotocol/sdk/client/index.js')),
    ...(await import('@modelcontextprotocol/sdk/client/streamableHttp.js')),
};
const kept = { logins: 0 };
let heard;
const answer = new Promise((resolve) => { heard = resolve; });
const listening = createServer((request, response) => {
    heard(new URL(request.url, 'http://127.0.0.1').searchParams);
    response.end('Done. You can close this window.');
}).listen(0, '127.0.0.1');
await new Promise((resolve) => listening.once('listening', resolve));

const redirectUrl = `http://127.0.0.1:${listening.address().port}/callback`;
const authProvider = {
    redirectUrl,
    clientMetadata: { client_name: `TypeScript ${version}`, redirect_uris: [redirectUrl], token_endpoint_auth_method: 'none' },
    clientInformation: () => kept.client,
    saveClientInformation: (client) => { kept.client = client; },
    tokens: () => kept.tokens,
    saveTokens: (tokens) => { kept.tokens = tokens; },
    codeVerifier: () => kept.verifier,
    saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
    discoveryState: () => kept.discovery,
    saveDiscoveryState: (state) => { kept.discovery = state; },
    redirectToAuthorization: (url) => { kept.logins += 1; console.log(url.href); },
};

const open = async (transport) => {
    const client = new Client({ name: 'test-login', version: '1' });
    await client.connect(transport);
    return client;
};
const transport = () => new StreamableHTTPClientTransport(new URL(where), { authProvider });
const ask = async () => {
    const first = transport();
    const client = await open(first).catch(async (error) => {
        if (error.constructor.name !== 'UnauthorizedError') throw error;
        const given = await answer;
        await first.finishAuth(given.get('code'), given.get('iss'));
        return await open(transport());
    });
    const found = await client.callTool({ name: 'execute_query', arguments: { sql: 'SELECT 1' } });
    await client.close();
    return found.structuredContent.rows;
};

const before = await ask();
const given = kept.tokens;
kept.tokens = { ...given, access_token: 'dmcp_000000000000_' + 'x'.repeat(43) };
const after = await ask();
listening.close();
listening.closeAllConnections();
console.log(JSON.stringify({ before, after, logins: kept.logins, renewed: kept.tokens.refresh_token !== given.refresh_token }));
