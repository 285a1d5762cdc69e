// The inspector's --cli, a process for each question. It opens the handshake era unless ERA=modern asks for the other.
// Its package asks for Node 22.19; of what we lock, the --cli part runs on Node 20 too.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const { tool, arguments: args } = JSON.parse(readFileSync(new URL('./question.json', import.meta.url), 'utf8'));
const inspector = fileURLToPath(new URL('./node_modules/.bin/mcp-inspector', import.meta.url));
const home = mkdtempSync(join(tmpdir(), 'inspector-')); // it keeps files in $HOME/.mcp-inspector

async function run(...question) {
    const { stdout } = await promisify(execFile)(
        process.execPath,
        [
            ...[inspector, '--cli', '--server-url', process.env.URL, '--transport', 'http', '--format', 'json', '--quiet'],
            ...(process.env.ERA ? ['--protocol-era', process.env.ERA] : []),
            ...(process.env.TOKEN ? ['--header', `Authorization: Bearer ${process.env.TOKEN}`] : []),
            ...['--stored-auth-only', '--method', ...question],
        ],
        { env: { ...process.env, HOME: home } },
    );
    return JSON.parse(stdout).result;
}

try {
    const { protocolVersion } = await run('initialize');
    const { tools } = await run('tools/list');
    const call = await run('tools/call', '--tool-name', tool, '--tool-args-json', JSON.stringify(args));
    if (call.isError) throw new Error(call.content[0].text);
    const { columns, rows } = call.structuredContent;
    if (!rows.length) throw new Error('the answer has no rows');
    console.log(JSON.stringify({ tools: tools.map(tool => tool.name), columns, rows, protocolVersion }));
} catch (error) {
    console.error(error);
    process.exitCode = 1;
} finally {
    rmSync(home, { recursive: true });
}
