// What both TypeScript clients do once connected: list the tools, ask question.json, print one line of JSON.
import { readFileSync } from 'node:fs';

const question = JSON.parse(readFileSync(new URL('./question.json', import.meta.url), 'utf8'));

// `connect` is given { url, headers } and returns { client, protocolVersion }. Any problem ends the process with 1.
export async function ask(connect) {
    try {
        const url = new URL(process.env.URL);
        const headers = process.env.TOKEN ? { authorization: `Bearer ${process.env.TOKEN}` } : {};
        const { client, protocolVersion } = await connect({ url, headers });
        const { tools } = await client.listTools();
        const result = await client.callTool({ name: question.tool, arguments: question.arguments });
        if (result.isError) throw new Error(result.content[0].text);
        const { columns, rows } = result.structuredContent;
        if (!rows.length) throw new Error('the answer has no rows');
        console.log(JSON.stringify({ tools: tools.map(tool => tool.name), columns, rows, protocolVersion }));
        await client.close();
    } catch (error) {
        console.error(error);
        process.exitCode = 1;
    }
}
